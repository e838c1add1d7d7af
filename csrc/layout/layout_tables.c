/* layout_tables.c - the layouts of builds other than the one compiled for, made by layout/generate.py --table. */
#include "layout.h"

const mi_layout mi_layout_tables[] = {
#include "tables.inc"
};
const int mi_layout_table_count = (int)(sizeof mi_layout_tables / sizeof *mi_layout_tables);
