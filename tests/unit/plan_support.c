/* SPDX-License-Identifier: Apache-2.0 */
/* The notation of layouts and targets for tests of the planner. */
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct mig_model *plan_model(const char *name)
{
    const struct mig_model *model = mig_catalog_find_name(name);

    if (!model) {
        fail_msg("no model %s", name);
    }
    return model;
}

/* ---- notation -------------------------------------------------------------------------------- */

/* Reads a name up to one of @*{},blank. */
static const char *read_name(const char *text, char *ret, size_t size)
{
    size_t length = strcspn(text, "@*{}, ");

    assert_true(length > 0 && length < size);
    memcpy(ret, text, length);
    ret[length] = '\0';
    return text + length;
}

static const char *read_start(const char *text, uint8_t *ret)
{
    char *end;

    *ret = MIG_START_ANY;
    if (*text != '@') {
        return text;
    }
    *ret = (uint8_t)strtoul(text + 1, &end, 10);
    assert_true(end != text + 1);
    return end;
}

static const char *read_cis(const char *text, const struct mig_profile *profile, struct mig_gi *gi)
{
    while (*text != '}') {
        struct mig_ci ci = {.id = (uint32_t)gi->ci_count};
        char name[MIG_NAME_SIZE];
        unsigned index = 0;

        text = read_name(text, name, sizeof(name));
        while (index < profile->ci_profile_count &&
               strcmp(profile->ci_profiles[index].name, name) != 0) {
            index++;
        }
        assert_true(index < profile->ci_profile_count);
        ci.profile = (uint8_t)index;
        text = read_start(text, &ci.start);
        if (*text == '*') {
            ci.in_use = true;
            gi->in_use = true;
            text++;
        }
        assert_true(gi->ci_count < MIG_CI_MAX);
        gi->cis[gi->ci_count++] = ci;
        text += *text == ',';
        assert_true(*text != '\0');
    }
    return text + 1;
}

struct mig_layout plan_layout(const struct mig_model *model, const char *text)
{
    struct mig_layout layout = {.model = model};

    for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
        struct mig_gi gi = {.id = 100u + layout.gi_count};
        char name[MIG_NAME_SIZE];
        int profile;

        text = read_name(text, name, sizeof(name));
        profile = mig_model_find_profile(model, name);
        if (profile < 0) {
            fail_msg("%s has no %s", model->name, name);
        }
        gi.profile = (uint8_t)profile;
        text = read_start(text, &gi.start);
        if (*text == '*') {
            gi.in_use = true;
            text++;
        }
        if (*text == '{') {
            text = read_cis(text + 1, &model->profiles[profile], &gi);
        } else {
            gi.ci_count = 1;
            gi.cis[0].profile = (uint8_t)mig_profile_default_ci(&model->profiles[profile]);
            gi.cis[0].in_use = gi.in_use;
        }
        if (gi.in_use) {
            snprintf(gi.holder, sizeof(gi.holder), "python3 (pid %u)", 4000u + layout.gi_count);
        }
        assert_true(layout.gi_count < MIG_GI_MAX);
        layout.gis[layout.gi_count++] = gi;
    }
    return layout;
}

struct mig_target plan_target(const struct mig_model *model, const char *text)
{
    struct mig_layout layout = plan_layout(model, text);
    struct mig_target target = {.gi_count = layout.gi_count};

    for (unsigned i = 0; i < layout.gi_count; i++) {
        target.gis[i].profile = layout.gis[i].profile;
        target.gis[i].start = layout.gis[i].start;
        target.gis[i].ci_count = layout.gis[i].ci_count;
        for (unsigned j = 0; j < layout.gis[i].ci_count; j++) {
            target.gis[i].ci_profiles[j] = layout.gis[i].cis[j].profile;
        }
    }
    return target;
}

struct out {
    char *buffer;
    size_t size;
};

MIG_PRINTF(2, 3)
static void put(struct out *out, const char *format, ...)
{
    size_t length = strlen(out->buffer);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(out->buffer + length, out->size - length, format, arguments);
    va_end(arguments);
}

static void put_start(struct out *out, unsigned start)
{
    if (start != MIG_START_ANY) {
        put(out, "@%u", start);
    }
}

static void put_gi(struct out *out, const struct mig_profile *profile, const struct mig_gi *gi)
{
    put(out, "%s%s", out->buffer[0] ? " " : "", profile->name);
    put_start(out, gi->start);
    put(out, "%s", gi->in_use ? "*" : "");
    if (gi->ci_count == 1 && profile->ci_profiles[gi->cis[0].profile].is_default) {
        return;
    }
    put(out, "{");
    for (unsigned i = 0; i < gi->ci_count; i++) {
        put(out, "%s%s", i > 0 ? "," : "", profile->ci_profiles[gi->cis[i].profile].name);
        put_start(out, gi->cis[i].start);
        put(out, "%s", gi->cis[i].in_use ? "*" : "");
    }
    put(out, "}");
}

const char *plan_layout_text(const struct mig_layout *layout, char *buffer, size_t size)
{
    struct out out = {buffer, size};

    buffer[0] = '\0';
    for (unsigned start = 0; start < MIG_UNIT_MAX; start++) {
        for (unsigned i = 0; i < layout->gi_count; i++) {
            if (layout->gis[i].start == start) {
                put_gi(&out, &layout->model->profiles[layout->gis[i].profile], &layout->gis[i]);
            }
        }
    }
    return buffer;
}

const char *plan_steps_text(const struct mig_model *model, const struct mig_plan *plan,
                            char *buffer, size_t size)
{
    struct out out = {buffer, size};

    buffer[0] = '\0';
    for (unsigned i = 0; i < plan->step_count; i++) {
        const struct mig_step *step = &plan->steps[i];
        const struct mig_profile *profile = &model->profiles[step->gi_profile];
        bool creates = step->kind == MIG_STEP_CREATE_GI || step->kind == MIG_STEP_CREATE_CI;

        put(&out, "%s%s", i > 0 ? " " : "", creates ? "+" : "-");
        if (step->kind == MIG_STEP_CREATE_GI || step->kind == MIG_STEP_DESTROY_GI) {
            put(&out, "%s@%u", profile->name, step->gi_start);
            continue;
        }
        put(&out, "%s", profile->ci_profiles[step->ci_profile].name);
        put_start(&out, step->ci_start);
        put(&out, "/%u", step->gi_start);
    }
    return buffer;
}
