# The control group's files, as text: what they mean is probes/cgroup.py's business.

cdef extern from "os.h":
    mi_error mi_os_slurp_all(const char *path, char **text, size_t *text_size, size_t *length)

# of version 2, of version 1
CGROUP_FILES = (
    (b"memory.current", b"memory.max", b"memory.high", b"memory.stat", b"memory.events"),
    (b"memory.usage_in_bytes", b"memory.limit_in_bytes", b"memory.stat", b"memory.oom_control"),
)


cdef object slurp_path(bytes path):
    cdef char text[16384]
    cdef mi_error error
    cdef ssize_t length = mi_os_slurp(path, text, sizeof(text), &error)
    return None if length < 0 else text[:length]


cdef tuple cgroup_place(bytes groups, bytes mounts):
    """(version, path as the kernel tells it, mount point, folder below it), None in place of what is not there.

    The memory controller of version 1 is taken where it is mounted, else the one hierarchy of version 2. The root of a
    mount and a path that begins with /.. come from namespaces: the folder is then what of the path lies below the root.
    """
    path = None
    version = 2
    for line in groups.splitlines():
        number, controllers, name = line.split(b":", 2)
        if b"memory" in controllers.split(b","):
            version, path = 1, name
            break
        if number == b"0" and not controllers:
            path = name
    if path is None:
        return version, None, None, None
    for line in mounts.splitlines():
        fields, _, rest = line.partition(b" - ")
        fields, rest = fields.split(), rest.split()
        if len(fields) < 5 or len(rest) < 3 or rest[0] != (b"cgroup" if version == 1 else b"cgroup2"):
            continue
        if version == 1 and b"memory" not in rest[2].split(b","):
            continue
        root = fields[3].rstrip(b"/")
        below = path[len(root):] if path == root or path.startswith(root + b"/") else b"" if root else path
        return version, path, fields[4].replace(b"\\040", b" "), b"" if b"/.." in path else below.strip(b"/")
    return version, path, None, None


cdef object slurp_mounts():
    """Lines of /proc/self/mountinfo that tell of control groups; the file has no bound."""
    cdef char *text
    cdef size_t size, length
    if mi_os_slurp_all(b"/proc/self/mountinfo", &text, &size, &length) != MI_OK:
        return b""
    try:
        return b"\n".join([line for line in text[:length].splitlines() if b" - cgroup" in line])
    finally:
        mi_os_free(text, size)


def cgroup_capture(pid_t pid=0):
    """{"version", "path", "levels": [{file: text or None}, ...], "reason"} of the group that a process is in.

    The first level is the process' own group, the others are the groups above it as far as they are mounted here.
    Nothing is raised: what cannot be read is None, with the reason.
    """
    groups = slurp_proc(pid, b"cgroup")
    if not groups:
        return {"version": None, "path": None, "levels": [], "reason": "the process has no /proc/PID/cgroup"}
    version, path, mount, below = cgroup_place(groups, slurp_mounts())
    told = path.decode("utf-8", "surrogateescape") if path is not None else None
    if mount is None:
        return {"version": version, "path": told, "levels": [], "reason": "no file system of control groups is mounted"}
    parts = below.split(b"/") if below else []
    levels = []
    for depth in range(len(parts), -1, -1):
        folder = b"/".join([mount] + parts[:depth])
        levels.append({name.decode(): slurp_path(folder + b"/" + name) for name in CGROUP_FILES[0 if version == 2 else 1]})
    readable = any(text is not None for level in levels for text in level.values())
    return {"version": version, "path": told, "levels": levels,
            "reason": None if readable else "the group's memory files cannot be read here"}
