/* cfi_expression.h - the numbers of .eh_frame's entries, and the expressions in them (DWARF 5, 2.5 and 7.6). */
#ifndef MI_CFI_EXPRESSION_H
#define MI_CFI_EXPRESSION_H

#include <stdint.h>

/* A cursor that cannot run over: behind the end it reads 0 and is bad. */
typedef struct mi_cfi_reader {
    const uint8_t *at, *end;
    uint64_t address; /* of *at in the object */
    int bad;
} mi_cfi_reader;

void mi_cfi_skip(mi_cfi_reader *from, uint64_t bytes);
uint64_t mi_cfi_fixed(mi_cfi_reader *from, int bytes, int is_signed);
uint64_t mi_cfi_unsigned(mi_cfi_reader *from); /* LEB128 */
int64_t mi_cfi_signed(mi_cfi_reader *from);

#endif
