/* gil_long_hold.c - see gil_long_hold.h. */
#include "gil_long_hold.h"

#include "gil_code.h"
#include "native_stack.h"

enum { DEPTH = 8 };

_Static_assert((int)MI_GIL_SAMPLED_BLOCKED == (int)MI_STACK_BLOCKED &&
                   (int)MI_GIL_SAMPLED_REFUSED == (int)MI_STACK_REFUSED,
               "one list");

static int goes_on(const mi_gil_counts *counts, uint64_t begin, uint32_t holder) {
    return atomic_load(&counts->held_since) == begin && atomic_load(&counts->holder) == holder;
}

/* 1: it was seen, or will not be. */
static int look(mi_gil_region *region, uint32_t gil, uint64_t begin, uint32_t holder, uint64_t time) {
    const mi_gil_row *row = &mi_gil_rows(region)[gil];
    uintptr_t thread = 0;
    uint32_t index = atomic_load(&region->long_holds);
    if (index >= MI_GIL_LONG_HOLDS_MOST) {
        atomic_fetch_add(&region->long_holds_left_out, 1);
        return 1;
    }
    mi_gil_long_hold *to = &mi_gil_long_holds(region)[index];
    *to = (mi_gil_long_hold){.begin = begin, .time = time, .thread = holder, .gil = (uint16_t)gil};
    /* A subinterpreter's GIL may be gone by now: its fields are read as any unproven memory is. */
    if (!mi_target_word(&mi_gil_tracing.target,
                        row->address + (uintptr_t)mi_gil_tracing.runtime.layout->gil_last_holder, &thread)) {
        mi_gil_place place = mi_gil_place_of(thread);
        to->code = place.code;
        to->instruction = place.instruction;
    }
    if (!goes_on(&row->counts, begin, holder)) return 1;
    mi_stack_how how = mi_native_stack(mi_gil_threads(region)[holder].native_id, DEPTH, to->stack, sizeof to->stack);
    if (!goes_on(&row->counts, begin, holder)) return 1;
    if (how == MI_STACK_GONE) return 0; /* it got no processor meanwhile */
    to->how = (uint16_t)how;
    atomic_store_explicit(&region->long_holds, index + 1, memory_order_release);
    return 1;
}

void mi_gil_look_at_long_holds(void) {
    mi_gil_region *region = mi_gil_tracing.region;
    uint32_t gils = atomic_load(&region->gils);
    for (uint32_t gil = 0; region->long_hold && gil < gils && gil < MI_GILS_MOST; gil++) {
        const mi_gil_counts *counts = &mi_gil_rows(region)[gil].counts;
        mi_traced_gil *traced = &mi_gil_tracing.gils[gil];
        uint64_t begin = atomic_load(&counts->held_since), time = mi_gil_now();
        uint32_t holder = atomic_load(&counts->holder);
        if (!begin || !holder || begin == traced->looked_at || time < begin || time - begin < region->long_hold)
            continue;
        if (atomic_load(&counts->closed)) continue;
        if (look(region, gil, begin, holder, time)) traced->looked_at = begin;
    }
}
