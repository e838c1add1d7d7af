/* ceiling.h - how long a measurement may keep the program waiting.
 *
 * A walk that cannot let go (its target lies where it is looked at) asks mi_target_is_late and stops. A measurement that
 * needs nobody to wait, but is better for it, has a mi_hold: once the time is up it lets the program go on, and whoever
 * reads from then on takes copies by mi_os_read alone. */
#ifndef MI_CEILING_H
#define MI_CEILING_H

#include "os.h"

typedef struct mi_hold {
    uint64_t until_ns;             /* by mi_os_now_ns; 0: nothing is held, or there is no ceiling */
    void (*let_go)(void *context); /* gives the GIL back */
    void *context;
    uint64_t let_go_ns; /* when that was; 0: it is still held */
} mi_hold;

/* Lets the program go on, once. */
static inline void mi_hold_let_go(mi_hold *hold) {
    if (!hold->until_ns || hold->let_go_ns) return;
    hold->let_go(hold->context);
    hold->let_go_ns = mi_os_now_ns();
}

/* Looks at the clock; true when the program goes on. `hold` may be NULL. Nobody who calls it may look at the program's
 * memory directly behind it without asking again. */
static inline int mi_hold_is_over(mi_hold *hold) {
    if (!hold || !hold->until_ns) return 0;
    if (!hold->let_go_ns && mi_os_now_ns() >= hold->until_ns) mi_hold_let_go(hold);
    return hold->let_go_ns != 0;
}

#endif
