/* cfi_program.h - the entry of a function in .eh_frame as rules: where the caller's registers are at one address of it. */
#ifndef MI_CFI_PROGRAM_H
#define MI_CFI_PROGRAM_H

#include "cfi.h"

enum { MI_CFI_ENTRY_MOST = 8192, MI_CFI_EXPRESSION_MOST = 64 };

typedef enum mi_cfi_kind {
    MI_CFI_NOT_SAID = 0,
    MI_CFI_UNDEFINED,  /* it is lost */
    MI_CFI_SAME,       /* it was not changed */
    MI_CFI_OFFSET,     /* it lies at the frame's address plus `offset` */
    MI_CFI_VALUE,      /* it is the frame's address plus `offset` */
    MI_CFI_REGISTER,   /* it is in the register `offset` */
    MI_CFI_EXPRESSION, /* it lies where the expression says */
    MI_CFI_VALUE_EXPRESSION
} mi_cfi_kind;

typedef struct mi_cfi_rule {
    int kind;
    int64_t offset;
    uint8_t expression[MI_CFI_EXPRESSION_MOST], size;
} mi_cfi_rule;

typedef struct mi_cfi_rules {
    mi_cfi_rule of[MI_CFI_REGISTERS];
    mi_cfi_rule frame; /* of the frame's address: MI_CFI_REGISTER plus frame_offset, or MI_CFI_VALUE_EXPRESSION */
    int64_t frame_offset;
    int return_column; /* the register that holds where the caller goes on */
    int signal;        /* the kernel called this: the caller was interrupted between two instructions */
} mi_cfi_rules;

/* `entry`: address of the function's entry (FDE). MI_E_ABSENT: it does not cover `code`; MI_E_LAYOUT: it cannot be read. */
mi_error mi_cfi_rules_at(uintptr_t entry, uintptr_t code, mi_cfi_rules *rules);

/* 0 when all that is needed is known. */
int mi_cfi_frame_address(const mi_cfi_rules *rules, const mi_frame *frame, const mi_stack_copy *stack,
                         uint64_t *address);
int mi_cfi_value(const mi_cfi_rule *rule, const mi_frame *frame, const mi_stack_copy *stack, uint64_t frame_address,
                 uint64_t *value);

#endif
