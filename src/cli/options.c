/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table itself, and nothing that needs the rest of migctl: the generator of man pages and
 * completions (gen.c) is built from this file alone. The texts below are what a person reads in
 * `migctl help COMMAND` and in migctl-COMMAND(1); paragraphs are separated by empty lines.
 */
#include "cli/options.h"
#include <string.h>

#define O(id) (UINT32_C(1) << (id))
#define X(code) (1U << (code))

/* Sets of options and exit codes that several commands share. */
#define SOURCE (O(CLI_FILE) | O(CLI_CONFIG))
#define CHANGE (O(CLI_DRY_RUN) | O(CLI_TIMEOUT) | O(CLI_SKIP_RESET) | O(CLI_RESET_COMMAND))
#define EXITS_READ (X(0) | X(1) | X(2) | X(6))
#define EXITS_PLAN (EXITS_READ | X(3) | X(4) | X(5))
#define EXITS_CHANGE (EXITS_PLAN | X(7))

const char cli_summary[] = "share NVIDIA GPUs with Multi-Instance GPU";

const char cli_description[] =
    "migctl shows and changes how the GPUs of this machine are cut into MIG slices. It works out "
    "exactly which instances have to go and which have to come, touches only those, never one "
    "that is in use, and puts everything back when a step fails.\n\n"
    "Errors say what was asked, who is in the way and what to do, on standard error. With -o json "
    "or -o yaml every command prints one document on standard output, an error included; the "
    "documents are described in docs/json.md.\n\n"
    "Called as nvidia-mig-parted, the program takes that program's arguments instead.";

const struct cli_option cli_options[CLI_OPTION_COUNT] = {
    [CLI_FILE] = {"file", "FILE", NULL,
                  "config file (nvidia-mig-parted v1, YAML or JSON), - for standard input",
                  CLI_COMPLETE_FILE, 'f'},
    [CLI_CONFIG] = {"config", "NAME", NULL,
                    "name of the config in the file; may be left out when there is only one",
                    CLI_COMPLETE_CONFIGS, 'c'},
    [CLI_GPU] = {"gpu", "GPU", NULL, "only this GPU: index, UUID or PCI bus id", CLI_COMPLETE_GPUS,
                 'g'},
    [CLI_GI] = {"gi", "ID", NULL, "GPU instance, by the driver's id", CLI_COMPLETE_NONE, 0},
    [CLI_CI] = {"ci", "ID", NULL, "compute instance in that GPU instance, by the driver's id",
                CLI_COMPLETE_NONE, 0},
    [CLI_MODEL] = {"model", "NAME", NULL,
                   "an empty GPU of this model from the catalogue; needs no driver",
                   CLI_COMPLETE_MODELS, 0},
    [CLI_MODE_ONLY] = {"mode-only", NULL, NULL, "look at MIG mode only, leave the instances alone",
                       CLI_COMPLETE_NONE, 'm'},
    [CLI_DRY_RUN] = {"dry-run", NULL, NULL, "show the steps and change nothing", CLI_COMPLETE_NONE,
                     'n'},
    [CLI_ON_BUSY] = {"on-busy", "WHAT", "keep|wait",
                     "when users of slices are in the way: keep them and fail (the default), or "
                     "wait until they are gone",
                     CLI_COMPLETE_CHOICES, 0},
    [CLI_TIMEOUT] = {"timeout", "SECONDS", NULL,
                     "how long to wait for another run, and with --on-busy wait for users; default "
                     "0, with --on-busy wait 600",
                     CLI_COMPLETE_NONE, 't'},
    [CLI_SKIP_RESET] = {"skip-reset", NULL, NULL,
                        "never reset a GPU: a mode that needs it stays pending", CLI_COMPLETE_NONE,
                        0},
    [CLI_RESET_COMMAND] = {"reset-command", "COMMAND", NULL,
                           "resets one GPU; words are separated by blanks, {bus_id} is replaced "
                           "(default: nvidia-smi --gpu-reset -i {bus_id})",
                           CLI_COMPLETE_NONE, 0},
    [CLI_LABEL] = {"label", "NAME", NULL, "name of the written config (default: current)",
                   CLI_COMPLETE_NONE, 'l'},
    [CLI_CATALOG] = {"catalog", NULL, NULL, "for all GPUs of the catalogue, not those of this node",
                     CLI_COMPLETE_NONE, 0},
    [CLI_NODE] = {"node", NULL, NULL,
                  "check against the GPUs of this node, not the whole catalogue", CLI_COMPLETE_NONE,
                  0},
    [CLI_DISABLE] = {"disable", NULL, NULL, "take unit and checkpoint away again",
                     CLI_COMPLETE_NONE, 0},
    [CLI_ROOT] =
        {"root", "DIR", NULL,
         "write below this directory instead of /, with an empty checkpoint that the first "
         "good change fills",
         CLI_COMPLETE_DIRECTORY, 0},
    [CLI_OUTPUT] = {"output", "FORMAT", "table|wide|json|yaml", "output format (default: table)",
                    CLI_COMPLETE_CHOICES, 'o'},
    [CLI_LIBRARY] = {"library", "PATH", NULL, "NVML library to load (default: libnvidia-ml.so.1)",
                     CLI_COMPLETE_FILE, 0},
    [CLI_STATE_DIR] = {"state-dir", "DIR", NULL,
                       "where lock, journal and checkpoint are (default: /var/lib/migd)",
                       CLI_COMPLETE_DIRECTORY, 0},
    [CLI_NO_COLOR] = {"no-color", NULL, NULL, "no colors, also on a terminal", CLI_COMPLETE_NONE,
                      0},
    [CLI_QUIET] = {"quiet", NULL, NULL, "print nothing but errors and what was asked for",
                   CLI_COMPLETE_NONE, 'q'},
    [CLI_VERBOSE] = {"verbose", NULL, NULL, "say each step, and what the driver cannot tell",
                     CLI_COMPLETE_NONE, 'v'},
    [CLI_HELP] = {"help", NULL, NULL, "show help and exit", CLI_COMPLETE_NONE, 'h'},
    [CLI_VERSION] = {"version", NULL, NULL, "show the version and exit", CLI_COMPLETE_NONE, 0},
};

const char *const cli_exits[CLI_EXIT_COUNT] = {
    "done",
    "failed; whatever had been changed was put back",
    "the command line makes no sense",
    "the config or another given file is not valid",
    "does not fit, whoever is asked to leave",
    "users of the slices, of the GPU or of the lock are in the way",
    "no NVIDIA driver, or none that answers",
    "failed, and the old state could not be put back",
};

const struct cli_variable cli_variables[] = {
    {"MIGCTL_CONFIG", "config file when -f is not given; without it the installed default config"},
    {"MIGD_STATE_DIR", "as --state-dir"},
    {"NO_COLOR", "when set to anything: as --no-color"},
    {NULL, NULL},
};

const struct cli_command cli_commands[CLI_COMMAND_COUNT] = {
    [CLI_COMMAND_STATUS] =
        {"status",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         O(CLI_GPU),
         EXITS_READ,
         "show the GPUs, their instances, who uses them and what still fits",
         "Draws each GPU as its row of slots, one cell per placement unit, then the tree of GPUs, "
         "GPU instances and compute instances with mode, profile, start, MIG UUID, memory and "
         "processes. An asterisk or dot marks an instance in use, an exclamation mark a GPU "
         "instance without a compute instance: it holds its slots but nobody can use it.\n\n"
         "The line `room' says how many more instances of each profile fit beside what is there, "
         "each count for itself.",
         {{"migctl status", "the whole node"},
          {"migctl status -g 0 -o wide", "one GPU, all columns"},
          {"migctl status -o json | jq '.gpus[].instances'", "for programs"}}},
    [CLI_COMMAND_PROFILES] =
        {"profiles",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         O(CLI_GPU) | O(CLI_MODEL),
         EXITS_READ | X(3) | X(4),
         "list the profiles of the GPUs, drawn as slots",
         "One line per profile: its ids, where its instances may start, size, memory, SMs, how "
         "many fit on an empty GPU and how many more fit now. The drawing has one character per "
         "placement unit; placements that are taken at the moment are crossed out. GPUs with the "
         "same model and the same instances are listed together.",
         {{"migctl profiles", "the GPUs of this node"},
          {"migctl profiles --model A100-SXM4-40GB", "from the catalogue, without a GPU"}}},
    [CLI_COMMAND_PLAN] =
        {"plan",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         SOURCE | O(CLI_MODE_ONLY),
         EXITS_PLAN,
         "show what apply would do, whom it would disturb and how long it would take",
         "Changes nothing. When the config cannot be reached, says which instance has no place, "
         "who is in the way, the nearest geometry that can be had now, and the fewest instances "
         "that would have to move; the exit code is that of apply.",
         {{"migctl plan -c all-balanced", "with the default config file"},
          {"migctl plan -f config.yaml -c all-3g.20gb", "with another file"}}},
    [CLI_COMMAND_APPLY] =
        {"apply",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         SOURCE | CHANGE | O(CLI_MODE_ONLY) | O(CLI_ON_BUSY),
         EXITS_CHANGE,
         "bring the node to a config, touching only what has to change",
         "Takes the lock of this machine, writes a journal, carries the plan out, reads "
         "everything back and compares. Instances in use are never touched. When a step fails, "
         "the destroyed instances are made again at their places. An interrupted run is finished "
         "or undone by the next one, which says so.\n\n"
         "MIG mode is changed only on GPUs where it differs, and only such a GPU is reset, alone, "
         "when its driver asks for it.\n\n"
         "With --on-busy wait, the plan is made anew until the users in the way are gone, for "
         "--timeout seconds; nothing is changed meanwhile.",
         {{"migctl apply -c all-balanced", "with the default config file"},
          {"migctl apply -f config.yaml -c all-1g.5gb --dry-run", "the same as plan"},
          {"migctl apply -c all-1g.5gb --on-busy wait -t 3600", "wait up to an hour for users"}}},
    [CLI_COMMAND_FIT] =
        {"fit",
         "PROFILE[=COUNT]...",
         CLI_COMPLETE_PROFILES,
         1,
         16,
         O(CLI_GPU),
         EXITS_PLAN,
         "say whether slices would fit on this node, where, and after which smallest change",
         "Places the wanted slices over all GPUs that have MIG on. Idle instances of the right "
         "kind are taken as they are, then free room is used, then idle instances of other kinds "
         "are given up; instances in use stay. The fewest destroyed instances win, then the "
         "fewest created, then the least fragmentation. Changes nothing.",
         {{"migctl fit 3g.20gb=2 1g.5gb", "two of one kind and one of another"}}},
    [CLI_COMMAND_CREATE] =
        {"create",
         "PROFILE[@START]",
         CLI_COMPLETE_PROFILES,
         1,
         1,
         O(CLI_GPU) | O(CLI_GI) | CHANGE,
         EXITS_CHANGE,
         "create one MIG device, beside everything that is there",
         "Without --gpu the GPU is taken whose room suffers least, without @START the best "
         "placement on it. Nothing is destroyed for it, not even idle instances. A GPU instance "
         "of the right profile that lacks a compute instance is completed instead of making "
         "another one. With --gi the compute instance is made in that GPU instance.",
         {{"migctl create 1g.5gb", "wherever it is best"},
          {"migctl create 3g.20gb@4 -g 0", "at placement start 4 of GPU 0"},
          {"migctl create 1c.3g.20gb -g 0 --gi 2", "a compute instance in GPU instance 2"}}},
    [CLI_COMMAND_DESTROY] =
        {"destroy",
         "[UUID | GPU:GI[:CI]]...",
         CLI_COMPLETE_DEVICES,
         0,
         64,
         O(CLI_GPU) | O(CLI_GI) | O(CLI_CI) | CHANGE,
         EXITS_CHANGE,
         "destroy single instances that nobody uses",
         "By MIG UUID: the compute instance, and its GPU instance when no other compute instance "
         "is left in it. By GPU:GI, or --gpu and --gi: the GPU instance with everything in it. "
         "With CI as well: that compute instance only. An instance in use is refused, naming who "
         "uses it; all others stay.",
         {{"migctl destroy MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "by MIG UUID"},
          {"migctl destroy 0:5 0:6", "GPU instances 5 and 6 of GPU 0"},
          {"migctl destroy -g 0 --gi 1 --ci 0", "one compute instance"}}},
    [CLI_COMMAND_ASSERT] =
        {"assert",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         SOURCE | O(CLI_MODE_ONLY),
         EXITS_READ | X(3) | X(4),
         "check that the node is as a config wants it",
         "Exit code 0 when modes (current and pending) and all MIG devices are as wanted on every "
         "GPU that the config names, 1 with the first difference when not. A GPU instance without "
         "a compute instance counts as a difference. Changes nothing.",
         {{"migctl assert -c all-balanced -q && echo ready", "in a script"}}},
    [CLI_COMMAND_EXPORT] =
        {"export",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         O(CLI_LABEL),
         EXITS_READ,
         "write the node as a config file",
         "The layout of nvidia-mig-parted: equal GPUs are merged, device filters are written where "
         "models differ. Prints YAML unless -o json is given.",
         {{"migctl export -l before > config.yaml", "keep the present geometry under a name"}}},
    [CLI_COMMAND_GENERATE_CONFIG] =
        {"generate-config",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         O(CLI_CATALOG),
         EXITS_READ,
         "write the config file that suits these GPUs",
         "Writes the names that clusters use (all-disabled, all-enabled, all-PROFILE, "
         "all-balanced), with device filters where models differ. Prints YAML unless -o json is "
         "given.",
         {{"migctl generate-config", "for the GPUs of this node"},
          {"migctl generate-config --catalog", "for every GPU known"}}},
    [CLI_COMMAND_CHECKPOINT] =
        {"checkpoint",
         "[FILE]",
         CLI_COMPLETE_FILE,
         0,
         1,
         0,
         EXITS_READ,
         "write modes, instances and their places to a file, for restore",
         "The format of nvidia-mig-parted's checkpoints, JSON, readable by both. Without FILE, or "
         "with -, prints it.",
         {{"migctl checkpoint /root/before.json", "before trying something"}}},
    [CLI_COMMAND_RESTORE] =
        {"restore",
         "FILE",
         CLI_COMPLETE_FILE,
         1,
         1,
         CHANGE | O(CLI_MODE_ONLY) | O(CLI_ON_BUSY),
         EXITS_CHANGE,
         "bring the node to a checkpoint, each instance at its place",
         "GPUs are matched by UUID. Works as apply does: instances that are where they belong are "
         "left alone, instances in use are never touched.",
         {{"migctl restore /root/before.json", "back to what it was"},
          {"migctl restore /root/before.json --dry-run", "look first"}}},
    [CLI_COMMAND_VALIDATE] =
        {"validate",
         "FILE",
         CLI_COMPLETE_FILE,
         1,
         1,
         O(CLI_CONFIG) | O(CLI_NODE),
         X(0) | X(1) | X(2) | X(3) | X(6),
         "check a whole config file offline",
         "Looks for unknown keys, profiles that no listed GPU has, counts that cannot fit, filters "
         "that match nothing and entries that overlap, each with line and column. Needs neither "
         "driver nor GPU unless --node is given.",
         {{"migctl validate config.yaml", "against the catalogue"},
          {"migctl validate config.yaml -c all-balanced --node", "one config, these GPUs"}}},
    [CLI_COMMAND_ENABLE_PERSISTENCE] =
        {"enable-persistence",
         NULL,
         CLI_COMPLETE_NONE,
         0,
         0,
         O(CLI_DISABLE) | O(CLI_ROOT),
         EXITS_READ,
         "have the last good geometry restored at boot by systemd",
         "Instances do not survive a reboot. This writes the present geometry to "
         "last-good.json in the state directory, and a systemd unit, migctl-restore.service, that "
         "restores it before anything uses the GPUs. From then on every successful apply, create, "
         "destroy and restore refreshes the checkpoint. Says which files it wrote; takes effect "
         "at the next boot.",
         {{"migctl enable-persistence", "from now on"},
          {"migctl enable-persistence --disable", "no more"},
          {"migctl enable-persistence --root image", "while building an image"}}},
    [CLI_COMMAND_VERSION] = {"version",
                             NULL,
                             CLI_COMPLETE_NONE,
                             0,
                             0,
                             0,
                             X(0) | X(1) | X(2),
                             "show the version",
                             "Prints the version of migctl and the number of GPU models in its "
                             "catalogue. Needs no driver.",
                             {{"migctl version -o json", "for programs"}}},
    [CLI_COMMAND_HELP] = {"help",
                          "[COMMAND]",
                          CLI_COMPLETE_COMMANDS,
                          0,
                          1,
                          0,
                          X(0) | X(1) | X(2),
                          "show help for a command",
                          "Without COMMAND, lists the commands.",
                          {{"migctl help apply", "what apply does"}}},
    [CLI_COMMAND_COMPLETE] = {"complete",
                              "configs|profiles|gpus|devices|models",
                              CLI_COMPLETE_NONE,
                              1,
                              1,
                              O(CLI_FILE),
                              X(0) | X(1) | X(2),
                              "list names for the completions of a shell",
                              "One name per line. Never fails: what cannot be read is not listed.",
                              {{NULL, NULL}}},
};

bool cli_option_is_common(enum cli_option_id option)
{
    return option >= CLI_OUTPUT;
}

bool cli_command_takes(const struct cli_command *command, enum cli_option_id option)
{
    return cli_option_is_common(option) || (command->options & O(option)) != 0;
}

bool cli_command_is_shown(enum cli_command_id id)
{
    return id != CLI_COMMAND_COMPLETE && id < CLI_COMMAND_COUNT;
}

enum cli_command_id cli_command_find(const char *name)
{
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (strcmp(cli_commands[i].name, name) == 0) {
            return (enum cli_command_id)i;
        }
    }
    return CLI_COMMAND_COUNT;
}
