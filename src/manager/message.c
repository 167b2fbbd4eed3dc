/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine says: the state with its message, events, log lines. The same thing is said
 * once: an event that equals the last one is not sent again, nor is a failure that repeats itself.
 */
#include "base/text.h"
#include "core/describe.h"
#include "manager/internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUSY_RETRY_MAX_MS 30000u /* asking again who holds a slice costs next to nothing */

const char *mig_manager_state_name(enum mig_manager_state state)
{
    static const char *const names[] = {"", "", "pending", "success", "failed", "rebooting"};

    return names[state];
}

/* What is cut to size, or names what others have named, becomes text that everybody takes: a patch
 * with anything else in it would never be made. */
MIG_PRINTF(3, 0)
static void format_text(char *buffer, size_t size, const char *format, va_list arguments)
{
    (void)vsnprintf(buffer, size, format, arguments);
    mig_text_make_utf8(buffer);
}

const char *mig_manager_action_name(enum mig_manager_action_kind kind)
{
    static const char *const names[MIG_MANAGER_ACTION_KIND_COUNT] = {
        [MIG_MANAGER_LOG] = "log",
        [MIG_MANAGER_EVENT] = "event",
        [MIG_MANAGER_WITHHOLD] = "withhold",
        [MIG_MANAGER_SAVE_RECORD] = "save-record",
        [MIG_MANAGER_PUBLISH_CONFIG] = "publish-config",
        [MIG_MANAGER_PATCH] = "patch",
        [MIG_MANAGER_REMOVE_TAINT] = "remove-taint",
        [MIG_MANAGER_EVICT] = "evict",
        [MIG_MANAGER_LIST_CLIENT_PODS] = "list-client-pods",
        [MIG_MANAGER_DELETE_PODS] = "delete-pods",
        [MIG_MANAGER_READ_HOLDERS] = "read-holders",
        [MIG_MANAGER_READ_NODE] = "read-node",
        [MIG_MANAGER_APPLY] = "apply",
        [MIG_MANAGER_STOP_SERVICES] = "stop-services",
        [MIG_MANAGER_START_SERVICES] = "start-services",
        [MIG_MANAGER_REFRESH_CDI] = "refresh-cdi",
        [MIG_MANAGER_REBOOT] = "reboot",
    };

    return kind < MIG_MANAGER_ACTION_KIND_COUNT && names[kind] ? names[kind] : "unknown";
}

/* A text that lives until the next step. When they are used up the last one is cut short. */
static const char *keep_text(struct mig_manager *manager, const char *text)
{
    char *kept;

    if (manager->text_count == MIG_MANAGER_TEXTS_MAX) {
        return "";
    }
    kept = manager->texts[manager->text_count++];
    (void)mig_text_copy(kept, MIG_MANAGER_MESSAGE_SIZE, text);
    return kept;
}

static void log_text(struct mig_manager *manager, enum mig_manager_level level, const char *text)
{
    struct mig_manager_action *action = mig_manager_act(manager, MIG_MANAGER_LOG);

    if (action) {
        action->level = level;
        action->text = keep_text(manager, text);
    }
}

void mig_manager_log(struct mig_manager *manager, enum mig_manager_level level, const char *format,
                     ...)
{
    char text[MIG_MANAGER_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    format_text(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_text(manager, level, text);
}

static void say_text(struct mig_manager *manager, enum mig_manager_level level, const char *reason,
                     const char *text)
{
    struct mig_manager_action *action;

    if (strcmp(manager->said_reason, reason) == 0 && strcmp(manager->said_text, text) == 0) {
        return;
    }
    (void)mig_text_copy(manager->said_reason, sizeof(manager->said_reason), reason);
    (void)mig_text_copy(manager->said_text, sizeof(manager->said_text), text);
    log_text(manager, level, text);
    action = mig_manager_act(manager, MIG_MANAGER_EVENT);
    if (action) {
        action->level = level;
        action->reason = reason;
        action->text = keep_text(manager, text);
    }
}

void mig_manager_say(struct mig_manager *manager, enum mig_manager_level level, const char *reason,
                     const char *format, ...)
{
    char text[MIG_MANAGER_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    format_text(text, sizeof(text), format, arguments);
    va_end(arguments);
    say_text(manager, level, reason, text);
}

void mig_manager_set_state(struct mig_manager *manager, enum mig_manager_state state,
                           const char *format, ...)
{
    va_list arguments;

    manager->state = state;
    va_start(arguments, format);
    format_text(manager->message, sizeof(manager->message), format, arguments);
    va_end(arguments);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* Which config it is about is said first, unless the error's own words name it. */
static void error_text(const struct mig_manager *manager, const struct mig_error *error,
                       char *buffer, size_t size)
{
    struct mig_words words = mig_words_start(buffer, size);
    char name[MIG_MANAGER_NAME_SIZE + 2];

    (void)snprintf(name, sizeof(name), "'%.64s'", manager->wish.label);
    if (manager->wish.label[0] && !strstr(error->message, name)) {
        mig_words_add(&words, "%s: ", name);
    }
    mig_words_add(&words, "%s", error->message[0] ? error->message : "failed for no known reason");
    if (error->holders[0]) {
        mig_words_add(&words, " (%s)", error->holders);
    }
    if (error->hint[0]) {
        mig_words_add(&words, "; %s", error->hint);
    }
    mig_text_make_utf8(buffer);
}

void mig_manager_fail(struct mig_manager *manager, const char *reason,
                      const struct mig_error *error)
{
    struct mig_manager_run *run = &manager->run;
    char text[MIG_MANAGER_MESSAGE_SIZE];
    bool busy = strcmp(reason, "MigConfigBlocked") == 0;

    error_text(manager, error, text, sizeof(text));
    manager->failure_count += manager->failure_count < UINT32_MAX;
    mig_manager_backoff(manager, &run->retry, manager->options.retry_min_ms,
                        busy && manager->options.retry_max_ms > BUSY_RETRY_MAX_MS
                            ? BUSY_RETRY_MAX_MS
                            : manager->options.retry_max_ms);
    mig_manager_wake(manager, run->retry.at_ms);
    run->busy_since_ms = 0;
    run->stalled = run->surprised = run->leave_mode = false;
    mig_manager_look_again(manager);
    manager->clients.hold = false;
    mig_manager_release(manager);
    say_text(manager, MIG_MANAGER_WARNING, reason, text);
    mig_manager_set_state(manager, MIG_MANAGER_STATE_FAILED, "%s", text);
}
