/* layout_choose.c - which layout is true of the interpreter that runs.
 *
 * Each candidate is held against facts that the public API states (mi_facts): what the layout says is read at the places
 * where it says it lies, by reads that cannot fault, and must be what the interpreter said. This is the one place, besides
 * fields.py, that compares versions: it asks which tables may apply, not what is in them. */
#include <stdatomic.h>
#include <string.h>

#include "runtime.h"

/* ---- one candidate ------------------------------------------------------------------------------------------------ */

static void note(mi_trial *trial, const char *name, mi_verdict verdict) {
    if (trial->count < MI_MAX_FACTS) trial->facts[trial->count++] = (mi_fact){name, verdict};
    if (verdict == MI_FALSE) trial->verified = 0;
}

static int read_at(uintptr_t base, int32_t offset, void *to, size_t size) {
    return base && offset != MI_ABSENT && !mi_os_read(0, base + (uintptr_t)offset, to, size);
}

static mi_verdict word_is(uintptr_t base, int32_t offset, uint64_t expected) {
    uint64_t word;
    if (!base || offset == MI_ABSENT) return MI_NOT_CHECKED;
    return read_at(base, offset, &word, sizeof word) && word == expected;
}

static mi_verdict int_is(uintptr_t base, int32_t offset, int expected) {
    int number;
    if (!base || offset == MI_ABSENT) return MI_NOT_CHECKED;
    return read_at(base, offset, &number, sizeof number) && number == expected;
}

static void check_lists(const mi_runtime *runtime, const mi_facts *facts, mi_trial *trial, mi_interpreter *own) {
    enum { SOME = 256 };
    mi_interpreter interpreters[SOME];
    size_t count, found = SOME;
    mi_error error = mi_runtime_interpreters(runtime, interpreters, SOME, &count);
    for (size_t i = 0; i < count; i++)
        if (interpreters[i].address == facts->interpreter) found = i;
    note(trial, "the runtime lists this interpreter", found < SOME && (!error || error == MI_E_LIMIT));
    note(trial, "the main interpreter is PyInterpreterState_Main()",
         word_is(runtime->address, runtime->layout->runtime_main, facts->main_interpreter));
    note(trial, "the interpreter's id is PyInterpreterState_GetID()",
         found < SOME && interpreters[found].id == facts->interpreter_id);
    if (found < SOME) *own = interpreters[found];
}

static int lists_thread(const mi_runtime *runtime, uintptr_t first, uintptr_t thread) {
    uintptr_t at = first;
    for (int hops = 0; at && hops < MI_MAX_THREADS; hops++) {
        if (at == thread) return 1;
        if (!read_at(at, runtime->layout->thread_next, &at, sizeof at)) break;
    }
    return 0;
}

static void check_thread(const mi_runtime *runtime, const mi_facts *facts, mi_trial *trial, const mi_interpreter *own) {
    mi_thread thread;
    mi_stack_chunk chunk;
    size_t chunks;
    mi_error error = mi_runtime_thread_at(runtime, facts->thread, &thread);
    note(trial, "the interpreter lists this thread state", lists_thread(runtime, own->first_thread, facts->thread));
    note(trial, "the thread state belongs to the interpreter", !error && thread.interpreter == facts->interpreter);
    note(trial, "thread_id is PyThread_get_thread_ident()", !error && thread.ident == facts->thread_ident);
    note(trial, "native_thread_id is PyThread_get_thread_native_id()",
         facts->thread_native_id ? !error && thread.native_id == facts->thread_native_id : MI_NOT_CHECKED);
    if (error || !thread.stack_chunk) {
        note(trial, "the data stack has the size of whole pages", error ? MI_FALSE : MI_NOT_CHECKED);
        return;
    }
    error = mi_runtime_stack_chunks(runtime, &thread, &chunk, 1, &chunks);
    note(trial, "the data stack has the size of whole pages", chunks == 1 && (!error || error == MI_E_LIMIT));
}

static void check_gil(const mi_layout *layout, const mi_facts *facts, mi_trial *trial, uintptr_t gil) {
    int held = facts->gil_held && !facts->free_threaded;
    note(trial, "the GIL's interval is sys.getswitchinterval()",
         facts->switch_interval_us ? word_is(gil, layout->gil_interval, facts->switch_interval_us) : MI_NOT_CHECKED);
    note(trial, "the GIL is locked while this thread holds it",
         held ? int_is(gil, layout->gil_locked, 1) : MI_NOT_CHECKED);
    note(trial, "the GIL's last holder is this thread state",
         held ? word_is(gil, layout->gil_last_holder, facts->thread) : MI_NOT_CHECKED);
}

/* A list head of the collector: the next entry's previous entry is the head (low bits of both are flags). */
static int closes(uintptr_t head) {
    uintptr_t next, back;
    return read_at(head, 0, &next, sizeof next) && read_at(next & ~(uintptr_t)3, sizeof next, &back, sizeof back) &&
           (back & ~(uintptr_t)3) == head;
}

static void check_gc(const mi_layout *layout, const mi_facts *facts, mi_trial *trial, uintptr_t gc) {
    note(trial, "the collector's switch is PyGC_IsEnabled()", int_is(gc, layout->gc_enabled, facts->gc_enabled));
    if (layout->gc_generations == MI_ABSENT || !gc) {
        note(trial, "the collector's lists close", gc ? MI_NOT_CHECKED : MI_FALSE);
        return;
    }
    int closed = 1, equal = 1;
    for (int i = 0; i < 3; i++) {
        uintptr_t generation = gc + (uintptr_t)layout->gc_generations + (uintptr_t)(i * layout->gc_generation_size);
        closed &= closes(generation);
        equal &= int_is(generation, layout->gc_generation_threshold, facts->gc_thresholds[i]) == MI_TRUE;
    }
    closed &= closes(gc + (uintptr_t)layout->gc_permanent);
    note(trial, "the collector's lists close", closed);
    note(trial, "the thresholds are gc.get_threshold()", facts->gc_thresholds_known ? equal : MI_NOT_CHECKED);
}

static void check_objects(const mi_layout *layout, const mi_facts *facts, mi_trial *trial) {
    char name[5] = "";
    uintptr_t at;
    uint32_t references = 0;
    uint64_t slack = 64; /* the call's own references; borrowed ones of 3.14 make it fewer */
    int32_t refcount = layout->free_threaded ? layout->object_ref_local : layout->object_refcount;
    note(trial, "an object's type is PyObject_Type()", word_is(facts->list, layout->object_type, facts->list_type));
    note(trial, "a list's ob_size is its length", word_is(facts->list, layout->object_var_size, facts->list_length));
    note(trial, "a refcount counts the references made",
         read_at(facts->item, refcount, &references, sizeof references) && references + slack >= facts->list_length &&
             references <= facts->list_length + slack);
    note(trial, "a new list's GC head is linked",
         layout->gc_head_size == MI_ABSENT
             ? MI_NOT_CHECKED
             : (mi_verdict)(facts->list != 0 && closes(facts->list - (uintptr_t)layout->gc_head_size)));
    note(trial, "tp_name of list reads \"list\"",
         read_at(facts->list_type, layout->type_name, &at, sizeof at) && read_at(at, 0, name, sizeof name) &&
             !memcmp(name, "list", sizeof name));
    note(trial, "tp_basicsize is list.__basicsize__",
         word_is(facts->list_type, layout->type_basicsize, facts->type_basicsize));
    note(trial, "tp_itemsize is list.__itemsize__",
         word_is(facts->list_type, layout->type_itemsize, facts->type_itemsize));
    note(trial, "tp_flags is PyType_GetFlags()", word_is(facts->list_type, layout->type_flags, facts->type_flags));
}

mi_error mi_layout_verify(const mi_layout *layout, const mi_facts *facts, mi_trial *trial) {
    mi_target target = {.kind = MI_TARGET_COPY}; /* without a map: everything is read by copy */
    mi_runtime runtime = {&target, layout, mi_runtime_own_address()};
    mi_interpreter own = {0};
    *trial = (mi_trial){.layout = layout, .native = layout == &mi_layout_native, .verified = 1};
    if (mi_os_read_method(0) == MI_READ_NONE) return MI_E_PERMISSION;
    check_lists(&runtime, facts, trial, &own);
    check_thread(&runtime, facts, trial, &own);
    check_gil(layout, facts, trial, own.gil);
    check_gc(layout, facts, trial, own.address ? own.gc : 0);
    check_objects(layout, facts, trial);
    return trial->verified ? MI_OK : MI_E_LAYOUT;
}

/* ---- the choice --------------------------------------------------------------------------------------------------- */

static _Atomic(const mi_layout *) current;

const mi_layout *mi_layout_current(void) { return atomic_load(&current); }

/* 3.14.0 to 3.14.4 collect incrementally at the same offsets as the generational collector of 3.14.5: no fact tells the
 * two apart, so the micro release must lie on the same side. */
static int incremental_gc(uint32_t version) { return version >= 0x030E0000 && version < 0x030E0500; }

static int may_apply(const mi_layout *layout, const mi_facts *facts) {
    return layout->version >> 16 == facts->version >> 16 && layout->free_threaded == facts->free_threaded &&
           layout->debug == facts->debug && incremental_gc(layout->version) == incremental_gc(facts->version);
}

mi_error mi_layout_choose(const mi_facts *facts, mi_trial *trials, int *count) {
    *count = 0;
    mi_error error = MI_E_LAYOUT;
    for (int i = -1; i < mi_layout_table_count && *count < MI_MAX_TRIALS; i++) {
        const mi_layout *layout = i < 0 ? &mi_layout_native : &mi_layout_tables[i];
        if (!may_apply(layout, facts)) continue;
        error = mi_layout_verify(layout, facts, &trials[(*count)++]);
        if (error == MI_OK) {
            atomic_store(&current, layout);
            return MI_OK;
        }
    }
    return error;
}
