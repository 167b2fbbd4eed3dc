/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl-gen: writes man pages and shell completions from the option table while the project is
 * built. Not installed.
 */
#include "cli/gen.h"
#include <stdio.h>
#include <string.h>

static int generate(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "man") == 0) {
        return gen_man(argv[2]);
    }
    if (argc == 2 && strcmp(argv[1], "bash") == 0) {
        return gen_bash();
    }
    if (argc == 2 && strcmp(argv[1], "zsh") == 0) {
        return gen_zsh();
    }
    if (argc == 2 && strcmp(argv[1], "fish") == 0) {
        return gen_fish();
    }
    return 2;
}

int main(int argc, char **argv)
{
    int result = generate(argc, argv);

    if (result == 2) {
        fputs("usage: migctl-gen man PAGE | bash | zsh | fish\n", stderr);
    }
    if (fclose(stdout) != 0) {
        perror("migctl-gen: could not write");
        return 1;
    }
    return result;
}
