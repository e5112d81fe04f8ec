/* shmget(2), shmat(2), shmdt(2), shmctl(2) */
#include "case.h"
#include <sys/shm.h>

static int segment(size_t size) { return OK(shmget(IPC_PRIVATE, size, IPC_CREAT | 0600)); }

static struct shmid_ds status_of(int id) {
    struct shmid_ds status;
    OK(shmctl(id, IPC_STAT, &status));
    return status;
}

CASE(shmget_of_size_zero_returns_einval) { EXPECT_ERRNO(shmget(IPC_PRIVATE, 0, 0600), EINVAL); }

CASE(shmget_of_a_missing_key_returns_enoent) { EXPECT_ERRNO(shmget(0x5eed0001, 10, 0600), ENOENT); }

CASE(shmget_finds_a_segment_by_its_key) {
    key_t key = 0x5eed0000 + getpid();
    int id = OK(shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600));
    int again = shmget(key, 5000, 0600), error = 0;
    int larger = shmget(key, 6000, 0600);
    error = errno;
    int exclusive = shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600);
    int exclusive_error = errno;
    OK(shmctl(id, IPC_RMID, NULL));
    EXPECT_EQ(again, id);
    EXPECT_EQ(larger, -1);
    EXPECT_EQ(error, EINVAL);
    EXPECT_EQ(exclusive, -1);
    EXPECT_EQ(exclusive_error, EEXIST);
    EXPECT_ERRNO(shmget(key, 5000, 0600), ENOENT);
}

CASE(shmat_maps_the_same_memory_twice) {
    int id = segment(5000);
    char *first = shmat(id, NULL, 0), *second = shmat(id, NULL, SHM_RDONLY);
    struct shmid_ds status = status_of(id);
    OK(shmctl(id, IPC_RMID, NULL));
    EXPECT(first != (void *)-1 && second != (void *)-1 && first != second);
    strcpy(first + 4096, "shared");
    EXPECT_STR(second + 4096, "shared");
    EXPECT_EQ(status.shm_nattch, 2);
    EXPECT_EQ(status.shm_segsz, 5000);
    EXPECT_EQ(status.shm_cpid, getpid());
    EXPECT_EQ(status.shm_lpid, getpid());
    EXPECT_EQ(status.shm_perm.mode & 0777, 0600);
    EXPECT_ERRNO(mprotect(second, PAGE_SIZE, PROT_READ | PROT_WRITE), EACCES);
}

CASE(shmat_readonly_cannot_be_written) {
    int id = segment(PAGE_SIZE);
    char *memory = shmat(id, NULL, SHM_RDONLY);
    OK(shmctl(id, IPC_RMID, NULL));
    pid_t pid = IN_CHILD({ *(volatile char *)memory = 1; });
    EXPECT_KILLED(pid, SIGSEGV);
}

CASE(shmat_is_inherited_by_fork) {
    int id = segment(PAGE_SIZE);
    char *memory = shmat(id, NULL, 0);
    OK(shmctl(id, IPC_RMID, NULL));
    pid_t pid = IN_CHILD({
        EXPECT_EQ(status_of(id).shm_nattch, 2);
        strcpy(memory, "child");
    });
    EXPECT_EXIT(pid, 0);
    EXPECT_STR(memory, "child");
    EXPECT_EQ(status_of(id).shm_nattch, 1);
}

CASE(shmat_addresses_are_checked) {
    int id = segment(PAGE_SIZE);
    char *room = map(4 * PAGE_SIZE);
    void *unaligned = shmat(id, room + 1, 0);
    int unaligned_error = errno;
    void *taken = shmat(id, room, 0);
    int taken_error = errno;
    void *replaced = shmat(id, room, SHM_REMAP);
    void *rounded = shmat(id, room + PAGE_SIZE + 5, SHM_RND | SHM_REMAP);
    void *remap_anywhere = shmat(id, NULL, SHM_REMAP);
    int remap_error = errno;
    OK(shmctl(id, IPC_RMID, NULL));
    EXPECT(unaligned == (void *)-1);
    EXPECT_EQ(unaligned_error, EINVAL);
    EXPECT(taken == (void *)-1);
    EXPECT_EQ(taken_error, EINVAL);
    EXPECT(replaced == room);
    EXPECT(rounded == room + PAGE_SIZE);
    EXPECT(remap_anywhere == (void *)-1);
    EXPECT_EQ(remap_error, EINVAL);
}

CASE(shmctl_rmid_keeps_the_segment_until_the_last_detach) {
    int id = segment(PAGE_SIZE);
    char *memory = shmat(id, NULL, 0);
    OK(shmctl(id, IPC_RMID, NULL));
    EXPECT(status_of(id).shm_perm.mode & SHM_DEST);
    strcpy(memory, "alive");
    OK(shmdt(memory));
    struct shmid_ds status;
    EXPECT_ERRNO(shmctl(id, IPC_STAT, &status), EINVAL);
    EXPECT_ERRNO((long)shmat(id, NULL, 0), EINVAL);
}

CASE(shmdt_of_anything_else_returns_einval) {
    char *memory = map(PAGE_SIZE);
    EXPECT_ERRNO(shmdt(memory), EINVAL);
    EXPECT_ERRNO(shmdt(memory + 1), EINVAL);
    EXPECT_ERRNO(shmdt((void *)0x10000), EINVAL);
}

CASE(shmctl_with_bad_arguments_fails) {
    int id = segment(PAGE_SIZE);
    int fault = shmctl(id, IPC_STAT, bad_page()), fault_error = errno;
    int unknown = shmctl(id, 99, NULL), unknown_error = errno;
    OK(shmctl(id, IPC_RMID, NULL));
    EXPECT_EQ(fault, -1);
    EXPECT_EQ(fault_error, EFAULT);
    EXPECT_EQ(unknown, -1);
    EXPECT_EQ(unknown_error, EINVAL);
    EXPECT_ERRNO(shmctl(id, IPC_RMID, NULL), EINVAL);
    EXPECT_ERRNO(shmctl(-1, IPC_RMID, NULL), EINVAL);
}
