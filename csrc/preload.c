/* preload.c - the library that the launcher preloads into the program it measures. */
typedef int mi_preload_to_come;
