/* resident_smaps.c - the tree by the Rss lines of smaps, for a process whose page map may not be read.
 *
 * A mapping is one leaf then: what lies inside it cannot be told, and mappings merge in the kernel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resident_parts.h"

/* The name behind the five fields of a mapping's line; NULL when the line is no such line. */
static const char *mapping_name(const char *line) {
    const char *dash = strchr(line, '-'), *space = strchr(line, ' ');
    if (!dash || !space || dash > space) return NULL;
    for (int field = 0; field < 5 && *line; field++) {
        line += strcspn(line, " ");
        line += strspn(line, " ");
    }
    return line;
}

static uint32_t leaf_by_name(mi_painter *painter, const char *name) {
    const char *path[MI_LEAF_DEPTH] = {NULL}, *slash = strrchr(name, '/');
    if (!name[0]) {
        path[0] = "anonymous mappings", path[1] = "without a name";
    } else if (!strcmp(name, "[heap]") || name[0] == '[') {
        path[0] = !strcmp(name, "[stack]") ? "thread stacks" : "anonymous mappings";
        path[1] = name;
    } else {
        path[0] = !strncmp(name, "/dev/zero", 9) || !strncmp(name, "/memfd:", 7) ? "shared memory" : "files";
        path[1] = slash && slash[1] ? slash + 1 : name;
    }
    return mi_painter_leaf(painter, path);
}

mi_error mi_memory_by_smaps(pid_t pid, mi_memory *out) {
    char path[64], *text;
    size_t size, length;
    uint64_t started = mi_os_now_ns();
    mi_error error = mi_painter_open(&out->painter, NULL, NULL);
    if (error) return error;
    if (pid)
        snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    else
        snprintf(path, sizeof path, "/proc/self/smaps");
    error = mi_os_slurp_all(path, &text, &size, &length);
    if (error) return error;
    const char *name = "";
    uint64_t extent = 0;
    for (char *line = text, *next; line < text + length; line = next + 1) {
        next = memchr(line, '\n', (size_t)(text + length - line));
        if (!next) break;
        *next = 0;
        if (!strncmp(line, "Size:", 5)) extent = strtoull(line + 5, NULL, 10) * 1024;
        if (!strncmp(line, "Rss:", 4)) {
            uint64_t resident = strtoull(line + 4, NULL, 10) * 1024;
            mi_leaf *leaf = resident ? &out->painter.leaves[leaf_by_name(&out->painter, name)] : NULL;
            if (leaf) {
                leaf->resident_bytes += resident;
                leaf->virtual_bytes += extent;
                leaf->count++;
                out->tree_bytes += resident;
            }
        } else if (line[0] >= 'a' ? line[0] <= 'f' : line[0] >= '0' && line[0] <= '9') {
            const char *found = mapping_name(line);
            if (found) name = found;
        }
    }
    mi_os_free(text, size);
    out->leaves = out->painter.leaves;
    out->leaf_count = out->painter.leaf_count;
    out->rss_bytes = out->rss_before = out->rss_after = (int64_t)out->tree_bytes;
    out->pause_ns = mi_os_now_ns() - started;
    snprintf(out->malloc_name, sizeof out->malloc_name, "unknown");
    mi_memory_say(
        out, 1,
        "/proc/PID/pagemap may not be read (the process is not dumpable, or another user's): the tree is by mappings, "
        "not by what lies in them");
    return MI_OK;
}
