/* What a sequence leaves behind, written down: of each process its signals, identity, descriptors and memory; then its files.
 * Part of guest.c. */
#ifndef LEFT_BEHIND_H
#define LEFT_BEHIND_H

static void note_descriptors(void) {
    for (int fd = 0; fd < STATE_FD; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags == -1)
            continue;
        struct stat stat = {0};
        NEED(fstat(fd, &stat) == 0);
        long position = S_ISREG(stat.st_mode) ? lseek(fd, 0, SEEK_CUR) : 0;
        normalize_stat(&stat);
        note("descriptor %d: flags %d %#o mode %o size %ld links %ld position %ld\n", fd, flags, fcntl(fd, F_GETFL),
             stat.st_mode, stat.st_size, (long)stat.st_nlink, position);
    }
}

/* Nothing that comes now matters any more. */
static void ignore_signals(void) {
    uint64_t none = 0;
    for (int number = 1; number <= 64; number++)
        if (number != SIGKILL && number != SIGSTOP && number != 32 && number != 33)
            signal(number, SIG_IGN);
    catch_faults();
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

static void note_maps(void) {
    FILE *file = fopen("/proc/self/maps", "re");
    if (file == NULL) {
        note("no maps: %s\n", strerrorname_np(errno));
        return;
    }
    unsigned long start, end;
    char access[5], *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        if (sscanf(line, "%lx-%lx %4s", &start, &end, access) != 3 || end <= MAPS || start >= MAPS + MAPS_SIZE)
            continue;
        for (unsigned long page = start; page < end; page += PAGE) {
            uint64_t value = 0;
            long byte = 0;
            for (size_t i = 0; i < PAGE && byte >= 0 && access[0] == 'r'; i++) {
                byte = touch((volatile uint8_t *)page + i, -1);
                value = (value ^ (uint64_t)byte) * 0x100000001b3;
            }
            note("page %ld: %s %016lx\n", (long)(page - MAPS) / (long)PAGE, access, value);
        }
    }
    fclose(file);
}

static void note_process(void) {
    uint64_t mask = 0, pending = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof mask);
    syscall(SYS_rt_sigpending, &pending, sizeof pending);
    note("%s: mask %016lx pending %016lx", self_process ? "child" : "process", mask, pending);
    note_handled();
    uid_t users[3], groups[3];
    getresuid(&users[0], &users[1], &users[2]);
    getresgid(&groups[0], &groups[1], &groups[2]);
    note(" users %d %d %d groups %d %d %d", users[0], users[1], users[2], groups[0], groups[1], groups[2]);
    mode_t mask_of_modes = umask(0);
    char directory[4096];
    const char *name = getcwd(directory, sizeof directory);
    size_t length = strlen(state->message.directory);
    bool is_inside = name != NULL && strncmp(name, state->message.directory, length) == 0;
    note(" umask %o in %s%s\n", mask_of_modes, is_inside ? "." : "?", is_inside ? name + length : "");
    note_descriptors();
    ignore_signals();
    note_maps();
}

static void note_tree(const char *path, int depth) {
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count == -1)
        note("%*s%s\n", depth, "", strerrorname_np(errno));
    for (int i = 0; i < count; i++) {
        char name[8192], target[256];
        const char *last = entries[i]->d_name;
        if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%s/%s", path, last);
        struct stat stat;
        if (lstat(name, &stat) == -1) {
            note("%*s%.40s: %s\n", depth, "", last, strerrorname_np(errno));
            continue;
        }
        normalize_stat(&stat);
        note("%*s%.40s: mode %o size %ld links %ld owner %d %d", depth, "", last, stat.st_mode, stat.st_size,
             (long)stat.st_nlink, stat.st_uid, stat.st_gid);
        if (S_ISLNK(stat.st_mode)) {
            ssize_t length = readlink(name, target, sizeof target);
            note(" to %.*s", (int)length, target);
        } else if (S_ISREG(stat.st_mode)) {
            static char content[FILE_SIZE_MAX];
            int fd = open(name, O_RDONLY | O_CLOEXEC);
            ssize_t length = read(fd, content, sizeof content);
            note(" content %ld %016lx", length, length > 0 ? hash(content, length) : 0);
            close(fd);
        }
        note("\n");
        if (S_ISDIR(stat.st_mode))
            note_tree(name, depth + 1);
    }
}

#endif
