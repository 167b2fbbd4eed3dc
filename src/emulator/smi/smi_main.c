/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi for emulated hosts: the part of NVIDIA's tool that people and programs use around
 * MIG. Options are parsed before the driver is touched, and whatever is not known is an error:
 * a tool that stands in for another must not pretend.
 */
#include "emulator/smi/smi.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

enum smi_option {
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_LIST,
    OPTION_QUERY,
    OPTION_XML,
    OPTION_ID,
    OPTION_QUERY_GPU,
    OPTION_QUERY_APPS,
    OPTION_FORMAT,
    OPTION_MIG_MODE,
    OPTION_PERSISTENCE,
    OPTION_RESET,
    OPTION_COUNT
};

struct option_row {
    const char *brief, *full;
    bool needs_value;
    const char *help;
};

/* In the order of enum smi_option. */
static const struct option_row rows[OPTION_COUNT] = {
    {"-h", "--help", false, "show this text"},
    {NULL, "--version", false, "show the versions of this tool, NVML and the driver"},
    {"-L", "--list-gpus", false, "list the GPUs and their MIG devices"},
    {"-q", "--query", false, "show all that is known about the GPUs"},
    {"-x", "--xml-format", false, "with -q: as XML"},
    {"-i", "--id", true, "GPU index, bus id or UUID, or a list"},
    {NULL, "--query-gpu", true, "values of the GPUs"},
    {NULL, "--query-compute-apps", true, "values of the processes"},
    {NULL, "--format", true, "csv[,noheader][,nounits]"},
    {"-mig", "--multi-instance-gpu", true, "MIG mode: 0 or 1"},
    {"-pm", "--persistence-mode", true, "persistence mode: 0 or 1"},
    {"-r", "--gpu-reset", false, "reset the GPUs"},
};

struct smi_command {
    bool given[OPTION_COUNT];
    const char *values[OPTION_COUNT];
};

static int print_help(void)
{
    size_t i;

    printf("NVIDIA System Management Interface, emulated by migemu %s\n\n"
           "Usage: nvidia-smi [OPTION ...]\n"
           "       nvidia-smi mig [OPTION ...]\n\n",
           MIG_VERSION);
    for (i = 0; i < OPTION_COUNT; i++) {
        char option[64];

        (void)snprintf(option, sizeof(option), "%s%s%s%s", rows[i].brief ? rows[i].brief : "",
                       rows[i].brief ? ", " : "", rows[i].full, rows[i].needs_value ? "=" : "");
        printf("  %-32s %s\n", option, rows[i].help);
    }
    return 0;
}

/* An option that is not known here, or not in this place. */
static int bad_option(const char *text, const char *why)
{
    printf("ERROR: Option %s %s\n\n", text, why);
    return SMI_EXIT_UNKNOWN_OPTION;
}

static int bad_combination(const char *why)
{
    printf("%s\n\n", why);
    return SMI_EXIT_USAGE;
}

#define UNKNOWN "is not recognized. Please run 'nvidia-smi -h'."
#define NO_VALUE "is missing its value. Please run 'nvidia-smi -h' for help."
#define NOT_HERE "is not valid for this command. Please run 'nvidia-smi -h' for help."

/* "--id=0" and "-i 0": the option, and what stands behind its "=" (NULL for none). */
static int find_option(const char *text, const char **value)
{
    int i;

    *value = NULL;
    for (i = 0; i < OPTION_COUNT; i++) {
        size_t length = strlen(rows[i].full);

        if ((rows[i].brief && strcmp(text, rows[i].brief) == 0) ||
            strcmp(text, rows[i].full) == 0) {
            return i;
        }
        if (strncmp(text, rows[i].full, length) == 0 && text[length] == '=') {
            *value = text + length + 1;
            return i;
        }
    }
    return OPTION_COUNT;
}

static int parse_command(int argc, char **argv, struct smi_command *command)
{
    int i;

    for (i = 0; i < argc; i++) {
        const char *value;
        int option = find_option(argv[i], &value);

        if (option == OPTION_COUNT) {
            return bad_option(argv[i], UNKNOWN);
        }
        if (rows[option].needs_value && !value) {
            if (i + 1 == argc) {
                return bad_option(argv[i], NO_VALUE);
            }
            value = argv[++i];
        } else if (!rows[option].needs_value && value) {
            return bad_option(argv[i], UNKNOWN);
        }
        command->given[option] = true;
        command->values[option] = value;
    }
    return 0;
}

/* Length of the first two numbers of a version. */
static size_t version_length(const char *text)
{
    size_t major = strcspn(text, ".");

    return text[major] == '\0' ? major : major + 1 + strcspn(text + major + 1, ".");
}

static int print_version(const struct smi *smi)
{
    char nvml_version[NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE] = "N/A";
    int cuda = 0;

    const char *driver = NULL;

    (void)SMI_CALL(smi, SystemGetNVMLVersion, nvml_version, sizeof(nvml_version));
    (void)SMI_CALL(smi, SystemGetCudaDriverVersion, &cuda);
    /* of "12.550.163.01" only "550.163" */
    driver = strchr(nvml_version, '.') ? strchr(nvml_version, '.') + 1 : nvml_version;
    printf("NVIDIA-SMI version  : %s\n", smi->driver_version);
    printf("NVML version        : %.*s\n", (int)version_length(driver), driver);
    printf("DRIVER version      : %s\n", smi->driver_version);
    printf("CUDA Version        : %d.%d\n", cuda / 1000, cuda % 1000 / 10);
    return 0;
}

static bool parse_switch(const char *text, bool *ret)
{
    *ret = strcmp(text, "1") == 0 || strcmp(text, "ENABLED") == 0;
    return *ret || strcmp(text, "0") == 0 || strcmp(text, "DISABLED") == 0;
}

static bool wants_change(const struct smi_command *command)
{
    return command->given[OPTION_RESET] || command->given[OPTION_MIG_MODE] ||
           command->given[OPTION_PERSISTENCE];
}

static int run_change(struct smi *smi, const struct smi_command *command)
{
    bool is_mode = command->given[OPTION_MIG_MODE];
    const char *value = command->values[is_mode ? OPTION_MIG_MODE : OPTION_PERSISTENCE];
    bool enable = false;

    if (command->given[OPTION_RESET]) {
        return smi_reset_gpus(smi);
    }
    if (!parse_switch(value, &enable)) {
        printf("Invalid %s: %s\nTerminating early due to previous errors.\n",
               is_mode ? "MIG Mode" : "persistence mode", value);
        return SMI_EXIT_USAGE;
    }
    return is_mode ? smi_set_mig_mode(smi, enable) : smi_set_persistence(smi, enable);
}

/* Options that do not go together are refused before the driver is asked for anything. */
static int check_command(const struct smi_command *command)
{
    bool query = command->given[OPTION_QUERY_GPU] || command->given[OPTION_QUERY_APPS];

    if (command->given[OPTION_RESET] + command->given[OPTION_MIG_MODE] +
            command->given[OPTION_PERSISTENCE] >
        1) {
        return bad_combination("Invalid combination of input arguments. Only one device "
                               "modification may be done at a time.");
    }
    if (command->given[OPTION_XML] && !command->given[OPTION_QUERY]) {
        return bad_combination("Invalid combination of input arguments. Specify -q/--query and "
                               "-x/--xml-format to run an XML query.  Please run 'nvidia-smi -h' "
                               "for help.");
    }
    if (query && !command->given[OPTION_FORMAT]) {
        return bad_combination(
            "\"--format=\" switch is missing. Please run 'nvidia-smi -h' for help.");
    }
    if (command->given[OPTION_FORMAT] && !query) {
        return bad_option(rows[OPTION_FORMAT].full, UNKNOWN);
    }
    if (command->given[OPTION_LIST] && command->given[OPTION_ID]) {
        (void)bad_option("-i", NOT_HERE);
        return SMI_EXIT_USAGE;
    }
    return 0;
}

static int run_selected(struct smi *smi, const struct smi_command *command)
{
    const char *format = command->values[OPTION_FORMAT];

    if (wants_change(command)) {
        return run_change(smi, command);
    }
    if (command->given[OPTION_QUERY_GPU]) {
        return smi_query_gpus(smi, command->values[OPTION_QUERY_GPU], format);
    }
    if (command->given[OPTION_QUERY_APPS]) {
        return smi_query_apps(smi, command->values[OPTION_QUERY_APPS], format);
    }
    if (command->given[OPTION_QUERY]) {
        return command->given[OPTION_XML] ? smi_show_full_xml(smi) : smi_show_full(smi);
    }
    return smi_show_table(smi);
}

static int run_command(struct smi *smi, int argc, char **argv)
{
    struct smi_command command = {.given = {false}};
    int status;

    if (argc > 0 && strcmp(argv[0], "mig") == 0) {
        return smi_mig_main(smi, argc - 1, argv + 1);
    }
    status = parse_command(argc, argv, &command);
    if (status == 0) {
        status = check_command(&command);
    }
    if (status != 0) {
        return status;
    }
    if (command.given[OPTION_VERSION]) {
        return print_version(smi);
    }
    if (command.given[OPTION_LIST] && !wants_change(&command)) {
        return smi_show_list(smi);
    }
    status =
        command.given[OPTION_ID] ? smi_select(smi, command.values[OPTION_ID]) : smi_select_all(smi);
    return status == 0 ? run_selected(smi, &command) : status;
}

/* Help works without a driver. */
static bool wants_help(int argc, char **argv)
{
    return argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0);
}

int main(int argc, char **argv)
{
    static struct smi smi;
    nvmlReturn_t code;
    int status;

    if (wants_help(argc, argv)) {
        return print_help();
    }
    status = smi_nvml_open(&smi.nvml);
    if (status != 0) {
        return status;
    }
    code = SMI_CALL(&smi, SystemGetDriverVersion, smi.driver_version, sizeof(smi.driver_version));
    if (code != NVML_SUCCESS) {
        printf("Unable to read the driver version: %s\n", smi_nvml_text(&smi.nvml, code));
        smi_nvml_close(&smi.nvml);
        return (int)code;
    }
    smi.layout = smi_layout_of(smi.driver_version);
    status = run_command(&smi, argc - 1, argv + 1);
    smi_nvml_close(&smi.nvml);
    return fflush(stdout) == 0 ? status : 1;
}
