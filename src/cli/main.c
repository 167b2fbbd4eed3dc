/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl: reads the command line, runs one command, prints what it leaves. A command prints text by
 * itself, or leaves a document that is printed here, with the error in it when there is one; so
 * standard output carries exactly one document whatever happens. The exit code is the negated
 * result.
 *
 * Called by the name nvidia-mig-parted, it takes that program's arguments (parted.c).
 */
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/parted.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

typedef int (*command_function)(struct cli *cli, struct mig_error *error);

static const command_function functions[CLI_COMMAND_COUNT] = {
    [CLI_COMMAND_STATUS] = cmd_status,
    [CLI_COMMAND_PROFILES] = cmd_profiles,
    [CLI_COMMAND_PLAN] = cmd_plan,
    [CLI_COMMAND_APPLY] = cmd_apply,
    [CLI_COMMAND_FIT] = cmd_fit,
    [CLI_COMMAND_CREATE] = cmd_create,
    [CLI_COMMAND_DESTROY] = cmd_destroy,
    [CLI_COMMAND_ASSERT] = cmd_assert,
    [CLI_COMMAND_EXPORT] = cmd_export,
    [CLI_COMMAND_GENERATE_CONFIG] = cmd_generate_config,
    [CLI_COMMAND_CHECKPOINT] = cmd_checkpoint,
    [CLI_COMMAND_RESTORE] = cmd_restore,
    [CLI_COMMAND_VALIDATE] = cmd_validate,
    [CLI_COMMAND_ENABLE_PERSISTENCE] = cmd_enable_persistence,
    [CLI_COMMAND_VERSION] = cmd_version,
    [CLI_COMMAND_HELP] = cmd_help,
    [CLI_COMMAND_COMPLETE] = cmd_complete,
};

static int run(struct cli *cli, struct mig_error *error)
{
    if (cli_has(cli, CLI_HELP)) {
        if (cli->command == CLI_COMMAND_COUNT) {
            cli_help_global(stdout);
        } else {
            cli_help_command(stdout, cli->command);
        }
        return MIG_OK;
    }
    if (cli_has(cli, CLI_VERSION)) {
        return cmd_version(cli, error);
    }
    return functions[cli->command](cli, error);
}

/* Prints the document, if the output is one; false when it could not be written. */
static bool print_document(struct cli *cli, int result, const struct mig_error *error)
{
    bool done = true;

    if (result < 0) {
        if (!cli->document) {
            (void)doc_start(cli, "error");
        }
        doc_put_error(cli->document, result, error);
    }
    if (cli->document) {
        done = doc_write(cli->document, cli->output, stdout);
        json_decref(cli->document);
        cli->document = NULL;
    }
    return done;
}

static int finish(struct cli *cli, int result, const struct mig_error *error)
{
    bool written = cli_is_text(cli) || print_document(cli, result, error);
    int reason;

    /* what was found comes before what is concluded, also when both go to one place */
    written = fflush(stdout) == 0 && !ferror(stdout) && written;
    reason = errno;
    if (result < 0) {
        cli_print_error(cli, error);
    }
    if (!written) {
        fprintf(stderr, "migctl: could not write the output: %s\n", strerror(reason));
        result = result < 0 ? result : MIG_E_FAILED;
    }
    return -result;
}

/*
 * What a caller may have left: without standard descriptors the next file that is opened would get
 * the number of one, and output would be written into it; with SIGCHLD ignored nobody learns how a
 * reset or a hook ended. A stand-in is open the other way round, so that using it fails.
 */
static void settle_in(void)
{
    (void)signal(SIGCHLD, SIG_DFL);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

int main(int argc, char **argv)
{
    struct cli cli = {.command = CLI_COMMAND_COUNT};
    struct mig_error error = {0};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    int result;

    settle_in();
    if (argc > 0 && strcmp(slash ? slash + 1 : argv[0], "nvidia-mig-parted") == 0) {
        return mig_parted_main(argc, argv);
    }
    result = cli_parse(&cli, argc, argv, &error);
    cli_term_init(&cli);
    if (result == MIG_OK) {
        result = run(&cli, &error);
    }
    return finish(&cli, result, &error);
}
