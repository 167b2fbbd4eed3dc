/* SPDX-License-Identifier: Apache-2.0 */
/* Opening machines and naming places on them, for all verbs. */
#include "emulator/machine/uuid.h"
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <errno.h>
#include <string.h>
#include <strings.h>

int migemu_open(const char *node, struct emu_machine **ret)
{
    int rc = emu_machine_open(node, ret);

    switch (rc) {
    case 0:
        return 0;
    case -ENOENT:
    case -ENOTDIR:
        (void)migemu_fail("'%s' holds no emulated machine", node);
        migemu_hint("migemu create %s --gpu A30 makes one", node);
        return MIGEMU_EXIT_FAILED;
    case -EPROTO:
        (void)migemu_fail("the machine in '%s' was made by another version of migemu", node);
        migemu_hint("make it anew with 'migemu create --force'");
        return MIGEMU_EXIT_FAILED;
    case -EBADMSG:
        return migemu_fail("the state file of '%s' is damaged", node);
    default:
        return migemu_fail_errno(rc, "could not open the machine in '%s'", node);
    }
}

struct emu_state *migemu_read(const struct emu_machine *machine)
{
    struct emu_state *state = malloc(sizeof(*state));
    int rc = state ? emu_machine_read(machine, state) : -ENOMEM;

    if (rc != 0) {
        (void)migemu_fail_errno(rc, "could not read '%s'", emu_machine_path(machine));
        free(state);
        return NULL;
    }
    return state;
}

int migemu_begin(const struct emu_machine *machine, struct emu_transaction *ret)
{
    int rc = emu_begin(machine, ret);

    return rc == 0 ? 0 : migemu_fail_errno(rc, "could not change '%s'", emu_machine_path(machine));
}

static int nothing_there(const char *text)
{
    (void)migemu_fail("there is nothing at '%s'", text);
    migemu_hint("name a GPU index, GPU:GI, GPU:GI:CI, a GPU UUID or a MIG UUID; 'migemu show' "
                "lists them");
    return MIGEMU_EXIT_FAILED;
}

/* "0", "0:1", "0:1:0" */
static bool parse_numbers(const char *text, struct migemu_place *ret)
{
    char part[3][16];
    uint64_t numbers[3];
    unsigned count = 0;

    while (count < 3) {
        size_t length = strcspn(text, ":");

        if (length >= sizeof(part[0])) {
            return false;
        }
        memcpy(part[count], text, length);
        part[count][length] = '\0';
        if (!mig_text_parse_u64(part[count], UINT16_MAX, &numbers[count])) {
            return false;
        }
        count++;
        text += length;
        if (*text == '\0') {
            break;
        }
        text++;
    }
    if (*text != '\0') {
        return false;
    }
    ret->gpu = (unsigned)numbers[0];
    ret->gi = count > 1 ? (uint32_t)numbers[1] : EMU_ID_NONE;
    ret->ci = count > 2 ? (uint32_t)numbers[2] : EMU_ID_NONE;
    return true;
}

static bool exists(const struct emu_state *state, const struct migemu_place *place)
{
    if (place->gpu >= state->gpu_count) {
        return false;
    }
    if (place->gi == EMU_ID_NONE) {
        return true;
    }
    if (place->gi >= EMU_GI_MAX || !state->gpus[place->gpu].gis[place->gi].used) {
        return false;
    }
    return place->ci == EMU_ID_NONE ||
           (place->ci < EMU_CI_MAX && state->gpus[place->gpu].gis[place->gi].cis[place->ci].used);
}

static bool find_mig_uuid(const struct emu_node_info *info, const struct emu_state *state,
                          const char *text, struct migemu_place *ret)
{
    char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];

    for (ret->gpu = 0; ret->gpu < state->gpu_count; ret->gpu++) {
        for (ret->gi = 0; ret->gi < EMU_GI_MAX; ret->gi++) {
            for (ret->ci = 0; ret->ci < EMU_CI_MAX; ret->ci++) {
                if (!exists(state, ret)) {
                    continue;
                }
                emu_mig_uuid(info->gpus[ret->gpu].uuid, ret->gi, ret->ci, uuid, sizeof(uuid));
                if (strcasecmp(uuid, text) == 0) {
                    return true;
                }
            }
        }
    }
    return false;
}

int migemu_find_place(const struct emu_node_info *info, const struct emu_state *state,
                      const char *text, struct migemu_place *ret)
{
    unsigned i;

    if (mig_text_starts_with(text, "MIG-")) {
        return find_mig_uuid(info, state, text, ret) ? 0 : nothing_there(text);
    }
    if (mig_text_starts_with(text, "GPU-")) {
        for (i = 0; i < info->gpu_count; i++) {
            if (strcasecmp(info->gpus[i].uuid, text) == 0) {
                *ret = (struct migemu_place){.gpu = i, .gi = EMU_ID_NONE, .ci = EMU_ID_NONE};
                return 0;
            }
        }
        return nothing_there(text);
    }
    return parse_numbers(text, ret) && exists(state, ret) ? 0 : nothing_there(text);
}

void migemu_format_place(const struct emu_node_info *info, const struct migemu_place *place,
                         char *buffer, size_t size)
{
    char instance[48] = "";

    if (place->gi != EMU_ID_NONE && place->ci != EMU_ID_NONE) {
        (void)snprintf(instance, sizeof(instance), " GI %u CI %u", place->gi, place->ci);
    } else if (place->gi != EMU_ID_NONE) {
        (void)snprintf(instance, sizeof(instance), " GI %u", place->gi);
    }
    (void)snprintf(buffer, size, "GPU %u (%s)%s", place->gpu,
                   place->gpu < info->gpu_count ? info->gpus[place->gpu].name : "?", instance);
}

bool migemu_parse_size(const char *text, uint64_t *ret)
{
    static const char suffixes[] = "KMGT";
    char number[24];
    size_t length = strspn(text, "0123456789");
    unsigned shift = 0;

    if (length == 0 || length >= sizeof(number)) {
        return false;
    }
    memcpy(number, text, length);
    number[length] = '\0';
    if (text[length] != '\0') {
        const char *suffix = strchr(suffixes, text[length]);

        if (!suffix || (text[length + 1] != '\0' && strcmp(text + length + 1, "iB") != 0)) {
            return false;
        }
        shift = 10 * (unsigned)(suffix - suffixes + 1);
    }
    if (!mig_text_parse_u64(number, UINT64_MAX >> shift, ret)) {
        return false;
    }
    *ret <<= shift;
    return true;
}
