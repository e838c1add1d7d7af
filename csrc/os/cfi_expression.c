/* cfi_expression.c - see cfi_expression.h; with it the values that rules stand for. */
#include "cfi_expression.h"

#include <string.h>

#include "cfi_program.h"

enum { OPERANDS_MOST = 16 };

/* ---- numbers ------------------------------------------------------------------------------------------------------------- */

void mi_cfi_skip(mi_cfi_reader *from, uint64_t bytes) {
    if (bytes > (uint64_t)(from->end - from->at)) {
        from->bad = 1;
        bytes = (uint64_t)(from->end - from->at);
    }
    from->at += bytes;
    from->address += bytes;
}

uint64_t mi_cfi_fixed(mi_cfi_reader *from, int bytes, int is_signed) {
    uint64_t value = 0;
    const uint8_t *at = from->at;
    mi_cfi_skip(from, (uint64_t)bytes);
    if (from->bad) return 0;
    memcpy(&value, at, (size_t)bytes); /* both machines are little-endian */
    if (is_signed && bytes < 8 && value >> (8 * bytes - 1)) value |= ~0ull << (8 * bytes);
    return value;
}

static uint64_t leb128(mi_cfi_reader *from, int is_signed) {
    uint64_t value = 0, byte;
    unsigned shift = 0;
    do {
        byte = mi_cfi_fixed(from, 1, 0);
        if (shift < 64) value |= (byte & 0x7F) << shift;
        shift += 7;
    } while (byte & 0x80 && !from->bad);
    if (is_signed && byte & 0x40 && shift < 64) value |= ~0ull << shift;
    return value;
}

uint64_t mi_cfi_unsigned(mi_cfi_reader *from) { return leb128(from, 0); }
int64_t mi_cfi_signed(mi_cfi_reader *from) { return (int64_t)leb128(from, 1); }

/* ---- expressions --------------------------------------------------------------------------------------------------------- */

typedef struct operands {
    uint64_t items[OPERANDS_MOST];
    int count, bad;
} operands;

static void push(operands *to, uint64_t value) {
    if (to->count == OPERANDS_MOST)
        to->bad = 1;
    else
        to->items[to->count++] = value;
}

static uint64_t pop(operands *from) {
    if (!from->count) {
        from->bad = 1;
        return 0;
    }
    return from->items[--from->count];
}

static int word_at(const mi_stack_copy *stack, uint64_t address, uint64_t *value) {
    if (address < stack->start || stack->size < 8 || address - stack->start > stack->size - 8) return -1;
    memcpy(value, stack->bytes + (address - stack->start), 8);
    return 0;
}

static void push_register(operands *to, const mi_frame *frame, uint64_t which, int64_t offset) {
    if (which >= MI_CFI_REGISTERS || !mi_frame_knows(frame, (int)which))
        to->bad = 1;
    else
        push(to, frame->value[which] + (uint64_t)offset);
}

static void binary(operands *of, uint8_t code) {
    uint64_t right = pop(of), left = pop(of);
    switch (code) {
    case 0x1A: push(of, left & right); break;
    case 0x1C: push(of, left - right); break;
    case 0x21: push(of, left | right); break;
    case 0x22: push(of, left + right); break;
    case 0x24: push(of, right < 64 ? left << right : 0); break;
    case 0x25: push(of, right < 64 ? left >> right : 0); break;
    case 0x29: push(of, left == right); break;
    case 0x2A: push(of, (int64_t)left >= (int64_t)right); break;
    case 0x2B: push(of, (int64_t)left > (int64_t)right); break;
    case 0x2C: push(of, (int64_t)left <= (int64_t)right); break;
    case 0x2D: push(of, (int64_t)left < (int64_t)right); break;
    case 0x2E: push(of, left != right); break;
    default: of->bad = 1;
    }
}

/* What linkers and the C library use: no branches, no calls. `first` is on the stack when it begins, unless NULL. */
static int evaluate(const mi_cfi_rule *rule, const mi_frame *frame, const mi_stack_copy *stack, const uint64_t *first,
                    uint64_t *value) {
    mi_cfi_reader from = {.at = rule->expression, .end = rule->expression + rule->size};
    operands of = {.count = 0};
    if (first) push(&of, *first);
    while (from.at < from.end && !from.bad && !of.bad) {
        uint8_t code = (uint8_t)mi_cfi_fixed(&from, 1, 0);
        uint64_t word;
        if (code >= 0x30 && code <= 0x4F) {
            push(&of, code - 0x30u);
        } else if (code >= 0x70 && code <= 0x8F) {
            push_register(&of, frame, code - 0x70u, mi_cfi_signed(&from));
        } else if (code >= 0x08 && code <= 0x0F) { /* 1, 2, 4 and 8 bytes, the odd ones signed */
            push(&of, mi_cfi_fixed(&from, 1 << ((code - 0x08) / 2), code & 1));
        } else {
            switch (code) {
            case 0x06:
                if (word_at(stack, pop(&of), &word))
                    of.bad = 1;
                else
                    push(&of, word);
                break;
            case 0x10: push(&of, mi_cfi_unsigned(&from)); break;
            case 0x11: push(&of, (uint64_t)mi_cfi_signed(&from)); break;
            case 0x12:
                word = pop(&of);
                push(&of, word);
                push(&of, word);
                break;
            case 0x13: pop(&of); break;
            case 0x23:
                word = pop(&of);
                push(&of, word + mi_cfi_unsigned(&from));
                break;
            case 0x92:
                word = mi_cfi_unsigned(&from);
                push_register(&of, frame, word, mi_cfi_signed(&from));
                break;
            default: binary(&of, code);
            }
        }
    }
    *value = pop(&of);
    return from.bad || of.bad;
}

/* ---- rules --------------------------------------------------------------------------------------------------------------- */

int mi_cfi_frame_address(const mi_cfi_rules *rules, const mi_frame *frame, const mi_stack_copy *stack,
                         uint64_t *address) {
    uint64_t which = (uint64_t)rules->frame.offset;
    if (rules->frame.kind == MI_CFI_VALUE_EXPRESSION) return evaluate(&rules->frame, frame, stack, NULL, address);
    if (rules->frame.kind != MI_CFI_REGISTER || which >= MI_CFI_REGISTERS || !mi_frame_knows(frame, (int)which))
        return -1;
    *address = frame->value[which] + (uint64_t)rules->frame_offset;
    return 0;
}

int mi_cfi_value(const mi_cfi_rule *rule, const mi_frame *frame, const mi_stack_copy *stack, uint64_t frame_address,
                 uint64_t *value) {
    uint64_t which = (uint64_t)rule->offset;
    switch (rule->kind) {
    case MI_CFI_OFFSET: return word_at(stack, frame_address + (uint64_t)rule->offset, value);
    case MI_CFI_VALUE: *value = frame_address + (uint64_t)rule->offset; return 0;
    case MI_CFI_REGISTER:
        if (which >= MI_CFI_REGISTERS || !mi_frame_knows(frame, (int)which)) return -1;
        *value = frame->value[which];
        return 0;
    case MI_CFI_EXPRESSION: return evaluate(rule, frame, stack, &frame_address, value) || word_at(stack, *value, value);
    case MI_CFI_VALUE_EXPRESSION: return evaluate(rule, frame, stack, &frame_address, value);
    default: return -1;
    }
}
