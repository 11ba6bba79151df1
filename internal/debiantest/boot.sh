# boot.sh ROOT SCRATCH CGROUP: becomes process 1 of a Debian. It runs in fresh
# namespaces, and goes on when its standard input ends. What the machine writes
# lies over ROOT, in memory.
cat >/dev/null
root=$1 scratch=$2
echo 0 >"$3/cgroup.procs"

mount --make-rprivate /
mount -t tmpfs -o mode=755 machine "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" machine "$scratch/root"
cd "$scratch/root"

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount -t tmpfs -o mode=755 dev dev
for device in null zero full random urandom tty; do
	touch "dev/$device"
	mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s null dev/console

# The namespace of cgroups begins where we are now.
exec unshare --cgroup sh -euc '
	mount -t cgroup2 cgroup sys/fs/cgroup
	mkdir -p mnt/before
	pivot_root . mnt/before
	exec chroot . /bin/sh -euc "umount -l /mnt/before
		exec env -i PATH=/usr/sbin:/usr/bin container=shingle-test /sbin/init --log-target=console" </dev/null
'
