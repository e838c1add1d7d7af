/* relocations_main.c - redirects calls of getppid and back, and says what was seen; tests/unit/test_relocations.py
 * builds it as executable and with its calls in a shared library, bound at once or lazily, and reads what it prints. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "relocations.h"

int caller_call(int times); /* in caller.c: calls getppid() that often */
const void *caller_inside(void);

static int seen;
static int (*original)(void);

static int replacement(void) {
    seen++;
    return original();
}

/* mprotect fails with EPERM from here on, as under a filter of a container. */
static void refuse_mprotect(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) printf("no_seccomp=1\n");
}

static int calls_seen(int times) {
    int before = seen;
    caller_call(times);
    return seen - before;
}

int main(int count, char **arguments) {
    static mi_relocations set;
    mi_hook hooks[2] = {{.symbol = "getppid", .replacement = (void *)replacement}, {.symbol = "getpriority"}};
    size_t foreign;
    const char *how = count > 1 ? arguments[1] : "";
    if (!strcmp(how, "called")) caller_call(1);
    printf("find=%d\n", mi_relocations_find(&set, caller_inside(), hooks, 2));
    original = (int (*)(void))set.hooks[0].original;
    printf("slots=%zu other=%zu lazy=%d\n", set.count, set.hooks[1].slots, set.count ? set.slots[0].lazy : -1);
    void *before = set.count ? *set.slots[0].address : NULL;
    if (!strcmp(how, "refused")) refuse_mprotect();
    printf("replace=%d", mi_relocations_replace(&set));
    printf(" read_only=%d untouched=%d\n", set.slots[0].read_only, *set.slots[0].address == before);
    printf("seen=%d strayed=%zu\n", calls_seen(1000), mi_relocations_strayed(&set, 0));
    if (set.replaced && !set.slots[0].read_only) { /* what the resolver would do, or another tool */
        *set.slots[0].address = set.hooks[0].original;
        printf("strayed=%zu", mi_relocations_strayed(&set, 1));
        printf(" again=%d\n", calls_seen(10));
    }
    int error = mi_relocations_restore(&set, &foreign);
    printf("restore=%d foreign=%zu\n", error, foreign);
    printf("after=%d parent_right=%d\n", calls_seen(1000), caller_call(1) == (int)syscall(SYS_getppid));
    if (!error && set.count && strcmp(how, "refused")) { /* the page has its protection back */
        char line[512], *access = line;
        unsigned long start, end, at = (unsigned long)set.slots[0].address;
        FILE *maps = fopen("/proc/self/maps", "r");
        while (maps && fgets(line, sizeof line, maps))
            if (sscanf(line, "%lx-%lx", &start, &end) == 2 && at >= start && at < end) break;
        access = strchr(line, ' ') + 1;
        printf("writable_now=%d\n", access[1] == 'w');
        if (maps) fclose(maps);
    }
    return 0;
}
