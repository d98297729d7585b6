/* A layer under a process's files that remembers what was never synced, so that a power cut can be played.
 *
 * Loaded with LD_PRELOAD. For files under $UNSYNCED_FOLDER it writes to $UNSYNCED_JOURNAL, before each change, what
 * the change overwrites and what it brings, and a mark for each sync. `unsynced::cut` (cut.rs) later takes back a
 * random part of what no sync covers. A name (creation, rename, removal) counts as lasting only when its folder was
 * synced. Real syncs are not made: after a kill the page cache is still there, and the journal decides. A sync takes
 * two milliseconds, so that kills find some under way.
 * Once $UNSYNCED_JOURNAL.halt exists, the next sync does not return, nor does any change after it, and
 * $UNSYNCED_JOURNAL.halted says so: the power can be cut where something was not synced.
 * Syncs of paths that contain $UNSYNCED_IGNORE leave no mark: a test that does not notice is no test.
 *
 * Not covered: mappings (SQLite's -shm, which the cut removes), copy_file_range, sendfile, raw system calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, RESIZE, SYNC, CREATE, MKDIR, UNLINK, RENAME, SYNC_FOLDER };

struct entry { uint64_t op, inode, offset, old_size, first, second; };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX], journal[PATH_MAX], halt[PATH_MAX + 8], halted[PATH_MAX + 8];
static size_t folder_length;
static const char *ignored;
static int journal_fd = -1;

enum { KEPT_MAX = PATH_MAX + 64 };

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void) {
    const char *f = getenv("UNSYNCED_FOLDER"), *j = getenv("UNSYNCED_JOURNAL");
    if (!f || !j) return;
    snprintf(folder, sizeof folder, "%s", f);
    snprintf(journal, sizeof journal, "%s", j);
    snprintf(halt, sizeof halt, "%s.halt", journal);
    snprintf(halted, sizeof halted, "%s.halted", journal);
    ignored = getenv("UNSYNCED_IGNORE");
    journal_fd = REAL(open)(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal_fd >= 0) folder_length = strlen(folder);
}

static int covers(const char *path) {
    size_t n = strlen(path);
    if (!folder_length || strncmp(path, folder, folder_length)) return 0;
    if (path[folder_length] != 0 && path[folder_length] != '/') return 0;
    return n < 4 || strcmp(path + n - 4, "-shm");
}

/* The path of an open file, if it is covered. */
static int covered(int fd, char path[PATH_MAX]) {
    if (!folder_length || fd == journal_fd) return 0;
    int saved = errno;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    errno = saved;
    if (n < 0) return 0;
    path[n] = 0;
    return covers(path);
}

static void enter(void) { pthread_mutex_lock(&mutex); flock(journal_fd, LOCK_EX); }
static void leave(void) {
    int saved = errno;
    flock(journal_fd, LOCK_UN);
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

static void note(struct entry e, const void *first, const struct iovec *second, int parts) {
    size_t total = sizeof e + e.first + e.second, at = sizeof e + e.first, done = 0;
    char *all = malloc(total);
    if (!all) abort();
    memcpy(all, &e, sizeof e);
    memcpy(all + sizeof e, first, e.first);
    for (int i = 0; i < parts; i++) {
        memcpy(all + at, second[i].iov_base, second[i].iov_len);
        at += second[i].iov_len;
    }
    while (done < total) {
        ssize_t n = REAL(write)(journal_fd, all + done, total - done);
        if (n < 0) abort(); /* a journal with holes would prove nothing */
        done += n;
    }
    free(all);
}

static void note_names(uint64_t op, const char *first, const char *second) {
    struct iovec v = {(void *)second, strlen(second)};
    note((struct entry){op, 0, 0, 0, strlen(first), strlen(second)}, first, &v, 1);
}

/* Old bytes of [from, to) of a file, through a descriptor of our own. */
static char *old_bytes(const char *path, off_t from, off_t to, size_t *length) {
    *length = 0;
    if (to <= from) return NULL;
    char *bytes = malloc(to - from);
    int fd = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    if (!bytes || fd < 0) abort();
    ssize_t n;
    while (*length < (size_t)(to - from) && (n = pread(fd, bytes + *length, to - from - *length, from + *length)) > 0)
        *length += n;
    REAL(close)(fd);
    return bytes;
}

static void note_write(int fd, const char *path, off_t offset, const struct iovec *v, int parts) {
    struct stat s;
    size_t total = 0, kept;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode)) return;
    for (int i = 0; i < parts; i++) total += v[i].iov_len;
    if (offset < 0) offset = fcntl(fd, F_GETFL) & O_APPEND ? s.st_size : lseek(fd, 0, SEEK_CUR);
    off_t end = offset + total < (size_t)s.st_size ? offset + (off_t)total : s.st_size;
    char *old = old_bytes(path, offset, end, &kept);
    note((struct entry){WRITE, s.st_ino, offset, s.st_size, kept, total}, old, v, parts);
    free(old);
}

static void note_resize(const struct stat *s, const char *path, off_t size) {
    size_t kept;
    char *old = old_bytes(path, size, s->st_size, &kept);
    note((struct entry){RESIZE, s->st_ino, size, s->st_size, kept, 0}, old, NULL, 0);
    free(old);
}

/* A second name outside the folder, by which a removed or replaced file can come back. */
static void keep(const char *path, char kept[KEPT_MAX]) {
    static unsigned number;
    kept[0] = 0;
    if (access(path, F_OK)) return;
    snprintf(kept, KEPT_MAX, "%s.kept-%d-%u", journal, getpid(), number++);
    if (link(path, kept)) abort();
}

#define AROUND(fd, before, call)                          \
    char path[PATH_MAX];                                  \
    if (!covered(fd, path)) return call;                  \
    enter();                                              \
    before;                                               \
    __typeof__(call) result = call;                       \
    leave();                                              \
    return result;

static int do_open(int (*real)(int, const char *, int, ...), int at, const char *path, int flags, mode_t mode) {
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !covers(path))
        return real(at, path, flags, mode);
    enter();
    struct stat s;
    int new = stat(path, &s);
    if (!new && flags & O_TRUNC && !(flags & O_EXCL) && s.st_size) note_resize(&s, path, 0);
    int fd = real(at, path, flags, mode);
    if (fd >= 0 && new) note_names(CREATE, path, "");
    leave();
    return fd;
}
#define MODE(flags) mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list l; va_start(l, flags); mode = va_arg(l, mode_t); va_end(l); }
int open(const char *path, int flags, ...) { MODE(flags) return do_open(REAL(openat), AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return do_open(REAL(openat64), AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return do_open(REAL(openat), at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return do_open(REAL(openat64), at, path, flags, mode); }

#define ONE struct iovec v = {(void *)bytes, n}
ssize_t write(int fd, const void *bytes, size_t n) { ONE; AROUND(fd, note_write(fd, path, -1, &v, 1), REAL(write)(fd, bytes, n)) }
ssize_t writev(int fd, const struct iovec *v, int k) { AROUND(fd, note_write(fd, path, -1, v, k), REAL(writev)(fd, v, k)) }
ssize_t pwrite(int fd, const void *bytes, size_t n, off_t o) { ONE; AROUND(fd, note_write(fd, path, o, &v, 1), REAL(pwrite)(fd, bytes, n, o)) }
ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t o) { ONE; AROUND(fd, note_write(fd, path, o, &v, 1), REAL(pwrite64)(fd, bytes, n, o)) }
ssize_t pwritev(int fd, const struct iovec *v, int k, off_t o) { AROUND(fd, note_write(fd, path, o, v, k), REAL(pwritev)(fd, v, k, o)) }

static void note_size(int fd, const char *path, off_t size, int only_growing) {
    struct stat s;
    if (!fstat(fd, &s) && (!only_growing || size > s.st_size)) note_resize(&s, path, size);
}
int ftruncate(int fd, off_t n) { AROUND(fd, note_size(fd, path, n, 0), REAL(ftruncate)(fd, n)) }
int ftruncate64(int fd, off64_t n) { AROUND(fd, note_size(fd, path, n, 0), REAL(ftruncate64)(fd, n)) }
int fallocate(int fd, int m, off_t o, off_t n) { AROUND(fd, note_size(fd, path, o + n, 1), REAL(fallocate)(fd, m, o, n)) }
int posix_fallocate(int fd, off_t o, off_t n) { AROUND(fd, note_size(fd, path, o + n, 1), REAL(posix_fallocate)(fd, o, n)) }

static void note_sync(int fd, const char *path) {
    struct stat s;
    if ((ignored && strstr(path, ignored)) || fstat(fd, &s)) return;
    if (S_ISDIR(s.st_mode)) note_names(SYNC_FOLDER, path, "");
    else note((struct entry){SYNC, s.st_ino, 0, 0, 0, 0}, NULL, NULL, 0);
}
int fsync(int fd) {
    char path[PATH_MAX];
    if (!covered(fd, path)) return REAL(fsync)(fd);
    usleep(2000);
    enter();
    if (!access(halt, F_OK)) {
        if (REAL(open)(halted, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0) abort();
        for (;;) pause();
    }
    note_sync(fd, path);
    leave();
    return 0;
}
int fdatasync(int fd) { return fsync(fd); }

int unlink(const char *path) {
    if (!covers(path)) return REAL(unlink)(path);
    char kept[KEPT_MAX];
    enter();
    keep(path, kept);
    if (kept[0]) note_names(UNLINK, path, kept);
    int result = REAL(unlink)(path);
    leave();
    return result;
}
int mkdir(const char *path, mode_t mode) {
    if (!covers(path)) return REAL(mkdir)(path, mode);
    enter();
    int result = REAL(mkdir)(path, mode);
    if (!result) note_names(MKDIR, path, "");
    leave();
    return result;
}
int rename(const char *from, const char *to) {
    if (!covers(to)) return REAL(rename)(from, to);
    char kept[KEPT_MAX], both[2 * PATH_MAX];
    enter();
    keep(to, kept);
    snprintf(both, sizeof both, "%s\n%s", from, to);
    note_names(RENAME, both, kept);
    int result = REAL(rename)(from, to);
    leave();
    return result;
}
