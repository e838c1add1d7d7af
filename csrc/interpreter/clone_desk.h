/* clone_desk.h - questions to a frozen copy of this process (clone.h) that stays for them when its work is done.
 *
 * A desk is the beginning of a piece of memory that both share; question and answer lie behind it. The copy ends when it is
 * dismissed, and in any case at its deadline. */
#ifndef MI_CLONE_DESK_H
#define MI_CLONE_DESK_H

#include <stdatomic.h>

#include "clone.h"

typedef struct mi_clone_desk {                   /* zeroed at first */
    _Atomic uint32_t asked, answered, dismissed; /* the first question is whether the work is done */
} mi_clone_desk;

/* In the copy, at the end of its work: answers until it is dismissed. An answer that faults is given as it stands. */
void mi_clone_serve(mi_clone_desk *desk, mi_clone_step answer, void *context);

/* In the program, without the GIL: asks and waits. False when the copy ended or its time is up. */
int mi_clone_ask(mi_clone *clone, mi_clone_desk *desk);
void mi_clone_dismiss(mi_clone_desk *desk);

#endif
