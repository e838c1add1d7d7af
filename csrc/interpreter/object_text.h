/* object_text.h - the text of a str and the number of an int, read from their structures: no Python object is made.
 *
 * The target is one whose memory lies where it says (this process, or a copy that has another's memory): what is read was
 * proven mapped. The caller knows that an object of the kind is there. */
#ifndef MI_OBJECT_TEXT_H
#define MI_OBJECT_TEXT_H

#include "layout.h"
#include "target.h"

/* UTF-8 of at most `most` characters of a compact str, as far as `room` bytes hold it, ended by a 0; what is no character
 * because the memory was torn is U+FFFD, surrogates are written as they are. False where it cannot be read. */
int mi_str_text(const mi_target *target, const mi_layout *layout, uintptr_t object, uint64_t most, char *to,
                size_t room);
/* False where it cannot be read, or 64 bits do not hold it. */
int mi_int_number(const mi_target *target, const mi_layout *layout, uintptr_t object, int64_t *number);

#endif
