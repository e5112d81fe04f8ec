# perl: files, processes, pipes, signals, sockets.
# usk-test: status=6
use strict; use warnings; use POSIX ":sys_wait_h"; use Socket; use IO::Handle;
STDOUT->autoflush(1);
open(my $out, '>', 'f') or die; print $out "line $_\n" for 1 .. 1000; close $out;
open(my $in, '<', 'f') or die; my $count = 0; while (<$in>) { $count++ if /7/ } print "$count\n"; close $in;
print -s 'f', " ", (-d '.' ? "dir" : "no"), "\n";
my $pid = fork // die; if ($pid == 0) { exit 7 } waitpid $pid, 0; print "child ", $? >> 8, "\n";
print "backticks: ", `echo hello; exit 3`, $? >> 8, "\n";
open(my $pipe, '-|', 'seq 5') or die; my @lines = <$pipe>; close $pipe; print scalar(@lines), "\n";
my $seen = 0; $SIG{USR1} = sub { $seen++ }; kill USR1 => $$; print "signals $seen\n";
eval { local $SIG{ALRM} = sub { die "alarm\n" }; alarm 1; select(undef, undef, undef, 10); }; print $@;
socketpair(my $one, my $two, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; $one->autoflush(1);
print $one "through a socket\n"; print scalar <$two>;
my %h = map { $_ => $_ ** 2 } 1 .. 5; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
opendir(my $dir, '.') or die; print join(" ", sort grep { !/^\./ } readdir $dir), "\n";
mkdir 'd'; rename 'f', 'd/g'; print join(" ", glob 'd/*'), "\n"; unlink 'd/g'; rmdir 'd'; print -e 'd' ? "there" : "gone", "\n";
print "error: $!\n" unless open(my $none, '<', '/missing');
system('exit 9'); print "system ", $? >> 8, "\n";
my @stat = stat '/dev/null'; printf "%o\n", $stat[2] & 0170000;
print sprintf("%.6f", atan2(1, 1) * 4), "\n";
exit 6;
