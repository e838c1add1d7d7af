/* ask.h - asks for memory before it is needed, where objects lie shuffled and all time is waiting for it.
 *
 * A function that does nothing else is one without an effect to gcc, which leaves out calls of it: it is to be inlined
 * before that is found out. */
#ifndef MI_ASK_H
#define MI_ASK_H

#define MI_ASKS static inline __attribute__((always_inline)) void
#define MI_ASK(address) __builtin_prefetch(address)
#define MI_ASK_TO_WRITE(address) __builtin_prefetch(address, 1)

#endif
