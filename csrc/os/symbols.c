/* symbols.c - see symbols.h. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "symbols.h"

#ifdef __linux__
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TABLE_MOST = 64 << 20 };

/* A part of the file as a copy: a mapping of it would fault where somebody cuts the file meanwhile. */
static void *load(int fd, uint64_t at, uint64_t size) {
    if (!size || size > TABLE_MOST) return NULL;
    char *copy = mi_os_alloc(size);
    uint64_t got = 0;
    while (copy && got < size) {
        ssize_t more = pread(fd, copy + got, size - got, (off_t)(at + got));
        if (more <= 0) {
            mi_os_free(copy, size);
            return NULL;
        }
        got += (uint64_t)more;
    }
    return copy;
}

/* The address that the file gives the byte at `offset`. */
static int file_address(int fd, const Elf64_Ehdr *head, uint64_t offset, uint64_t *address) {
    uint64_t size = (uint64_t)head->e_phnum * sizeof(Elf64_Phdr);
    Elf64_Phdr *segments = load(fd, head->e_phoff, size);
    int found = 0;
    for (int at = 0; segments && at < head->e_phnum && !found; at++)
        if (segments[at].p_type == PT_LOAD && offset >= segments[at].p_offset &&
            offset - segments[at].p_offset < segments[at].p_filesz) {
            *address = segments[at].p_vaddr + (offset - segments[at].p_offset);
            found = 1;
        }
    if (segments) mi_os_free(segments, size);
    return found;
}

static int name_in(int fd, const Elf64_Shdr *section, const Elf64_Shdr *strings, uint64_t address, char *name,
                   size_t size) {
    Elf64_Sym *symbols = load(fd, section->sh_offset, section->sh_size);
    char *text = symbols ? load(fd, strings->sh_offset, strings->sh_size) : NULL;
    uint64_t count = text && !text[strings->sh_size - 1] ? section->sh_size / sizeof *symbols : 0;
    int found = 0;
    for (uint64_t at = 0; at < count && !found; at++) {
        const Elf64_Sym *symbol = &symbols[at];
        int kind = ELF64_ST_TYPE(symbol->st_info);
        if ((kind != STT_FUNC && kind != STT_GNU_IFUNC) || symbol->st_shndx == SHN_UNDEF) continue;
        if (address < symbol->st_value || address - symbol->st_value >= symbol->st_size) continue;
        if (symbol->st_name >= strings->sh_size) continue;
        strncpy(name, text + symbol->st_name, size - 1);
        name[size - 1] = 0;
        found = 1;
    }
    if (text) mi_os_free(text, strings->sh_size);
    if (symbols) mi_os_free(symbols, section->sh_size);
    return found;
}

static void name_of(int fd, uint64_t offset, char *name, size_t size) {
    Elf64_Ehdr head;
    uint64_t address = 0;
    if (pread(fd, &head, sizeof head, 0) != sizeof head || memcmp(head.e_ident, ELFMAG, SELFMAG) ||
        head.e_ident[EI_CLASS] != ELFCLASS64 || !file_address(fd, &head, offset, &address))
        return;
    uint64_t room = (uint64_t)head.e_shnum * sizeof(Elf64_Shdr);
    Elf64_Shdr *sections = load(fd, head.e_shoff, room);
    static const uint32_t kinds[] = {SHT_SYMTAB, SHT_DYNSYM};
    int found = 0;
    for (size_t kind = 0; sections && kind < 2; kind++)
        for (int at = 0; at < head.e_shnum && !found; at++)
            if (sections[at].sh_type == kinds[kind] && sections[at].sh_link < head.e_shnum)
                found = name_in(fd, &sections[at], &sections[sections[at].sh_link], address, name, size);
    if (sections) mi_os_free(sections, room);
}

mi_error mi_symbol_at(const mi_maps *maps, uintptr_t address, char *name, size_t size, const char **object) {
    const mi_mapping *mapping = mi_os_maps_find(maps, address);
    struct stat status;
    name[0] = 0;
    if (!mapping || !(mapping->flags & MI_MAP_EXEC) || !mapping->name[0]) return MI_E_UNMAPPED;
    *object = mapping->name;
    if (mapping->name[0] != '/') return MI_OK; /* [vdso] */
    int fd = open(mapping->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return MI_OK;
    if (!fstat(fd, &status) && S_ISREG(status.st_mode) && status.st_ino == mapping->inode)
        name_of(fd, address - mapping->start + mapping->offset, name, size);
    close(fd);
    return MI_OK;
}
#else
mi_error mi_symbol_at(const mi_maps *maps, uintptr_t address, char *name, size_t size, const char **object) {
    (void)maps, (void)address, (void)size, (void)object;
    name[0] = 0;
    return MI_E_ABSENT;
}
#endif
