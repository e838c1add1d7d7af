"""Turns fields.py into C.

    generate.py DIR                writes DIR/layout_fields.h and DIR/layout_native.c for the running interpreter
    generate.py --table            prints this interpreter's row of tables.inc (compiles and runs a small program)

The numbers themselves are always computed by the C compiler from installed headers, never typed in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from fields import FIELDS, Field  # noqa: E402  (the folder is not a package: setup.py runs this file by path)

HEADERS = """\
#define Py_BUILD_CORE 1
/* CPython's internal headers do not compile without warnings. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <Python.h>
#include <stddef.h>
#include "internal/pycore_code.h"
#include "internal/pycore_dict.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_gc.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_moduleobject.h"
#include "internal/pycore_object.h"
#include "internal/pycore_runtime.h"
#if PY_VERSION_HEX >= 0x030C0000
#include "internal/pycore_obmalloc.h"
#endif
#ifdef Py_GIL_DISABLED
#include "internal/pycore_mimalloc.h"
#include "internal/pycore_object_stack.h"
#include "internal/pycore_tstate.h"
#ifdef MI_ENCODE_FREELIST
#define MI_ENCODED_LISTS 1
#else
#define MI_ENCODED_LISTS 0
#endif
#endif
#if PY_VERSION_HEX >= 0x030C0000
#define MI_LONG_DIGITS offsetof(PyLongObject, long_value.ob_digit)
#else
#define MI_LONG_DIGITS offsetof(PyLongObject, ob_digit)
#endif
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
#define MI_STR_KIND_SHIFT 8
#else
#define MI_STR_KIND_SHIFT 2
#endif
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX >= 0x030E0000
#define MI_FREE_LISTS offsetof(_PyThreadStateImpl, freelists)
#define MI_FREE_LISTS_SIZE sizeof(struct _Py_freelists)
#elif defined(Py_GIL_DISABLED)
#define MI_FREE_LISTS offsetof(_PyThreadStateImpl, freelists)
#define MI_FREE_LISTS_SIZE sizeof(struct _Py_object_freelists)
#elif PY_VERSION_HEX >= 0x030D0000
#define MI_FREE_LISTS offsetof(PyInterpreterState, object_state.freelists)
#define MI_FREE_LISTS_SIZE sizeof(((PyInterpreterState *)0)->object_state.freelists)
#else
#define MI_FREE_LISTS offsetof(PyInterpreterState, float_state)
#define MI_FREE_LISTS_SIZE (offsetof(PyInterpreterState, exc_state) - MI_FREE_LISTS)
#endif
#if PY_VERSION_HEX >= 0x030D0000
#define MI_FRAME_CODE f_executable
#define MI_FRAME_INSTRUCTION instr_ptr
#else
#define MI_FRAME_CODE f_code
#define MI_FRAME_INSTRUCTION prev_instr
#endif
#if PY_VERSION_HEX >= 0x030C0000
#define MI_FRAME_FUNCTION f_funcobj
#define MI_MODULES imports.modules
#else
#define MI_FRAME_FUNCTION f_func
#define MI_MODULES modules
#endif
#ifdef Py_TPFLAGS_MANAGED_WEAKREF
#define MI_TYPE_PREHEADER_FLAGS (Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_MANAGED_WEAKREF)
#else
#define MI_TYPE_PREHEADER_FLAGS Py_TPFLAGS_MANAGED_DICT
#endif
#if PY_VERSION_HEX >= 0x030E0000 && (PY_VERSION_HEX < 0x030E0500 || defined(Py_GIL_DISABLED))
#define MI_GC_GENERATIONS offsetof(struct _gc_runtime_state, young)
#else
#define MI_GC_GENERATIONS offsetof(struct _gc_runtime_state, generations)
#endif
/* the incremental collector of 3.14.0 to 3.14.4 */
#if PY_VERSION_HEX >= 0x030E0000 && PY_VERSION_HEX < 0x030E0500 && !defined(Py_GIL_DISABLED)
#define MI_GC_VISITED_SPACE offsetof(struct _gc_runtime_state, visited_space)
#define MI_GC_LONG_LIVED(which) MI_ABSENT
#else
#define MI_GC_VISITED_SPACE MI_ABSENT
#define MI_GC_LONG_LIVED(which) offsetof(struct _gc_runtime_state, long_lived_##which)
#endif
"""


def this_version() -> tuple[int, int]:
    return sys.version_info[:2]


def free_threaded() -> bool:
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def expression(field: Field) -> str:
    """The C expression of one field for this interpreter, or MI_ABSENT."""
    version = this_version()
    if not field.since <= version < field.until:
        return "MI_ABSENT"
    if (field.build == "gil" and free_threaded()) or (field.build == "free_threaded" and not free_threaded()):
        return "MI_ABSENT"
    if version in field.fixed:
        return str(field.fixed[version])
    return f"(int32_t)({field.expression})"


def struct_members() -> str:
    return "".join(f"    int32_t {field.name}; /* {field.doc} */\n" for field in FIELDS)


def fields_header() -> str:
    return f"/* Made by csrc/layout/generate.py from fields.py. */\n{struct_members()}"


def native_source() -> str:
    rows = "".join(f"    .{field.name} = {expression(field)},\n" for field in FIELDS)
    return (
        "/* Made by csrc/layout/generate.py: the layout of the interpreter this is compiled for. */\n"
        f"{HEADERS}"
        '#include "layout.h"\n\n'
        "const mi_layout mi_layout_native = {\n"
        "    .version = PY_VERSION_HEX,\n"
        f"    .free_threaded = {int(free_threaded())},\n"
        "#ifdef Py_DEBUG\n    .debug = 1,\n#endif\n"
        f"{rows}}};\n"
    )


def table_row() -> str:
    """Compiles and runs a program that prints this interpreter's layout as a C initialiser."""
    prints = "".join(f'    printf("    .{f.name} = %ld,\\n", (long){expression(f)});\n' for f in FIELDS)
    program = (
        f"#define MI_ABSENT (-1)\n{HEADERS}#include <stdio.h>\nint main(void) {{\n"
        '    printf("{\\n    .version = 0x%08X,\\n", (unsigned)PY_VERSION_HEX);\n'
        f'    printf("    .free_threaded = {int(free_threaded())},\\n");\n'
        '#ifdef Py_DEBUG\n    printf("    .debug = 1,\\n");\n#endif\n'
        f'{prints}    printf("}},\\n");\n    return 0;\n}}\n'
    )
    includes = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "table.c"), Path(folder, "table")
        source.write_text(program)
        subprocess.run([os.environ.get("CC", "cc"), *includes, "-o", binary, source], check=True)
        return subprocess.run([binary], check=True, capture_output=True, text=True).stdout


def write(folder: Path) -> None:
    """Writes the generated files, leaving what has not changed alone so that nothing is rebuilt for it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("layout_fields.h", fields_header()), ("layout_native.c", native_source())):
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print(table_row(), end="")
    elif len(sys.argv) == 2:
        write(Path(sys.argv[1]))
    else:
        sys.exit("usage: generate.py DIR | generate.py --table")
