/* gil_long_hold.h - who holds a GIL for longer than a threshold, and in which function: looked at by the drain.
 *
 * A hold is looked at when it has lasted the trace's threshold at a turn of the drain, and again until its thread was
 * seen. What is found is kept only if the same hold still goes on when it was found. */
#ifndef MI_GIL_LONG_HOLD_H
#define MI_GIL_LONG_HOLD_H

#include "gil_session.h"

void mi_gil_look_at_long_holds(void);

#endif
