/* cfi.h - from a frame of a stack to its caller's, by what the compiler wrote down in .eh_frame.
 *
 * An object that is loaded says in its program headers (PT_GNU_EH_FRAME) where its table of functions is. Each function's
 * entry is a little program: run up to the address where the thread is, it says how the frame's beginning is computed (the
 * canonical frame address, CFA) and where each register of the caller was put (Linux Standard Base, .eh_frame; DWARF 5,
 * 6.4). A register that a function may have changed without saving it is unknown from there on, and a step that would need
 * one is not made: nothing here is guessed.
 *
 * The tables are read where they lie, by mi_os_read; no lock of the dynamic linker's is taken. The stack is a copy. */
#ifndef MI_CFI_H
#define MI_CFI_H

#include "os.h"

/* DWARF's numbers of registers (System V ABI for x86-64, figure 3.36; DWARF for the Arm 64-bit architecture, 4.1) */
#if defined(__aarch64__)
enum { MI_CFI_STACK = 31, MI_CFI_PC = 32, MI_CFI_REGISTERS = 35 };
#else
enum { MI_CFI_STACK = 7, MI_CFI_PC = 16, MI_CFI_REGISTERS = 17 };
#endif

typedef struct mi_frame {
    uint64_t value[MI_CFI_REGISTERS]; /* that of MI_CFI_PC: where it is, or where it will go on */
    uint64_t known;                   /* a bit each: which of them are */
    int interrupted;                  /* it is at value[MI_CFI_PC] itself; else a call there has just not returned */
} mi_frame;

typedef struct mi_stack_copy {
    uintptr_t start;
    size_t size;
    const unsigned char *bytes;
} mi_stack_copy;

static inline int mi_frame_knows(const mi_frame *frame, int which) { return (int)(frame->known >> which & 1); }
static inline void mi_frame_set(mi_frame *frame, int which, uint64_t value) {
    frame->value[which] = value;
    frame->known |= 1ull << which;
}

/* Makes the caller's frame of `frame`. MI_E_ABSENT: nothing tells, or what tells needs a register or a part of the stack
 * that is not known; MI_E_LAYOUT: what tells is not what the standard says; MI_E_LIMIT: this is the outermost frame. */
mi_error mi_cfi_caller(const mi_maps *maps, const mi_stack_copy *stack, mi_frame *frame);

#endif
