/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A systemctl for tests, static so that it runs below any root: /units/NAME holds "LOAD ACTIVE",
 * and /calls what was asked. The unit hang.service never stops. Also answers to the name reboot.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void write_down(int argc, char **argv)
{
    FILE *file = fopen("/calls", "a");

    for (int i = 1; file && i < argc; i++) {
        fprintf(file, "%s%s", argv[i], i + 1 < argc ? " " : "\n");
    }
    if (file) {
        fclose(file);
    }
}

static int show(const char *name)
{
    char path[300], load[64] = "not-found", active[64] = "inactive";
    FILE *file;

    snprintf(path, sizeof(path), "/units/%s", name);
    file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%63s %63s", load, active) != 2) {
            return 1;
        }
        fclose(file);
    }
    printf("LoadState=%s\nActiveState=%s\n", load, active);
    return 0;
}

static int set(const char *name, const char *active)
{
    char path[300];
    FILE *file;

    snprintf(path, sizeof(path), "/units/%s", name);
    file = fopen(path, "w");
    if (!file) {
        return 1;
    }
    fprintf(file, "loaded %s\n", active);
    return fclose(file) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    const char *name = argc > 1 ? argv[argc - 1] : "";

    write_down(argc, argv);
    if (strcmp(verb, "show") == 0) {
        return show(name);
    }
    verb = argc > 2 ? argv[2] : "";
    if (strcmp(name, "hang.service") == 0) {
        pause();
    }
    if (strcmp(verb, "stop") == 0) {
        return set(name, "inactive");
    }
    return strcmp(verb, "start") == 0 ? set(name, "active") : 0;
}
