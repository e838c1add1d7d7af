/* slots.h - the slots by which the object that holds the interpreter calls functions of others, as the tests find them:
 * x86-64's JUMP_SLOT and GLOB_DAT relocations. Include it first. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

typedef struct slots_search {
    uintptr_t inside; /* an address in the object */
    void (*found)(uintptr_t slot, const char *name, void *data);
    void *data;
} slots_search;

static int slots_look(struct dl_phdr_info *info, size_t size, void *of) {
    const slots_search *search = of;
    const ElfW(Dyn) *entry = NULL;
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    const ElfW(Rela) *tables[2] = {0};
    size_t bytes[2] = {0};
    int holds = 0;
    (void)size;
    for (int at = 0; at < info->dlpi_phnum; at++) {
        uintptr_t start = info->dlpi_addr + info->dlpi_phdr[at].p_vaddr;
        if (info->dlpi_phdr[at].p_type == PT_LOAD && search->inside - start < info->dlpi_phdr[at].p_memsz) holds = 1;
        if (info->dlpi_phdr[at].p_type == PT_DYNAMIC) entry = (const void *)start;
    }
    if (!holds) return 0;
    for (; entry && entry->d_tag; entry++) {
        if (entry->d_tag == DT_SYMTAB) symbols = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_STRTAB) strings = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_JMPREL) tables[0] = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_PLTRELSZ) bytes[0] = entry->d_un.d_val;
        if (entry->d_tag == DT_RELA) tables[1] = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_RELASZ) bytes[1] = entry->d_un.d_val;
    }
    for (int which = 0; which < 2; which++)
        for (size_t at = 0; at < bytes[which] / sizeof **tables; at++) {
            const ElfW(Rela) *one = &tables[which][at];
            unsigned kind = ELF64_R_TYPE(one->r_info);
            if (kind == R_X86_64_JUMP_SLOT || kind == R_X86_64_GLOB_DAT)
                search->found(info->dlpi_addr + one->r_offset,
                              strings + symbols[ELF64_R_SYM(one->r_info)].st_name, search->data);
        }
    return 1;
}

static void slots_find(void (*found)(uintptr_t slot, const char *name, void *data), void *data) {
    slots_search search = {(uintptr_t)dlsym(RTLD_DEFAULT, "PyEval_SaveThread"), found, data};
    if (search.inside) dl_iterate_phdr(slots_look, &search);
}
