/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery after a run that did not come to its end.
 *
 * One rule. If all GPUs are as the run wanted them, it is finished, unless it was undoing itself.
 * Otherwise the old state is put back; and only if that cannot be done, the run is finished
 * instead. What the GPUs hold decides, not how far the journal says the run came: between a step
 * and its line in the journal a process can die.
 *
 * A journal of another boot tells of instances that went with that boot. One that is damaged, or
 * that could not be dealt with several times, is set aside, so that it cannot block the node.
 */
#include "gpu/recover.h"
#include "base/cleanup.h"
#include "base/file.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define ATTEMPT_MAX 3

MIG_PRINTF(3, 4)
static void tell_recovery(struct mig_apply *apply, enum mig_recovery recovery, const char *format,
                          ...)
{
    struct mig_apply_report *report = apply->report;
    va_list arguments;

    report->recovery = recovery;
    va_start(arguments, format);
    vsnprintf(report->recovery_text, sizeof(report->recovery_text), format, arguments);
    va_end(arguments);
}

static int remove_journal(const struct mig_apply *apply, struct mig_error *error)
{
    if (unlink(apply->journal_path) < 0 && errno != ENOENT) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not remove '%s'",
                                   apply->journal_path);
    }
    return 0;
}

/* Keeps the journal under another name, for people. */
static int set_aside(struct mig_apply *apply, const char *suffix, const char *why,
                     struct mig_error *error)
{
    char path[4096];

    if ((size_t)snprintf(path, sizeof(path), "%s.%s", apply->journal_path, suffix) >=
            sizeof(path) ||
        rename(apply->journal_path, path) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not rename '%s'",
                                   apply->journal_path);
    }
    tell_recovery(apply, MIG_RECOVERY_OBSOLETE, "%s; the GPUs were left as they are (see '%s')",
                  why, path);
    return 0;
}

static int broken(struct mig_apply *apply, const struct mig_journal *journal,
                  const struct mig_error *back, const struct mig_error *forth,
                  struct mig_error *error)
{
    char now[320];

    mig_describe_now(apply, journal, now, sizeof(now));
    mig_error_set(error, MIG_E_BROKEN, back->domain, back->code,
                  "an interrupted run of %s (pid %u) could not be undone: %.160s; nor finished: "
                  "%.160s; now %s",
                  journal->command, journal->pid, back->message, forth->message, now);
    if (error && back->holders[0] != '\0') {
        mig_error_add_holder(error, "%s", back->holders);
    }
    return mig_error_hint(error, MIG_E_BROKEN,
                          "remove the cause and try again; after %d tries the GPUs are left as "
                          "they are",
                          ATTEMPT_MAX);
}

static int settle(struct mig_apply *apply, const struct mig_journal *journal,
                  struct mig_error *error)
{
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    struct mig_error back = {0}, forth = {0};
    int rc = mig_inventory_read(apply->session, &node, error);

    if (rc < 0) {
        return rc;
    }
    if (!journal->rolling_back && mig_is_at(journal, node, MIG_SIDE_NEW)) {
        tell_recovery(apply, MIG_RECOVERY_FINISHED,
                      "an interrupted run of %s (pid %u) had done all of its work",
                      journal->command, journal->pid);
        return 0;
    }
    if (mig_is_at(journal, node, MIG_SIDE_OLD)) {
        tell_recovery(apply, MIG_RECOVERY_RESTORED,
                      "an interrupted run of %s (pid %u) had changed nothing that lasts",
                      journal->command, journal->pid);
        return 0;
    }
    if (mig_reach(apply, journal, MIG_SIDE_OLD, &back) == 0) {
        tell_recovery(apply, MIG_RECOVERY_RESTORED,
                      "an interrupted run of %s (pid %u) was undone after step %u of %u",
                      journal->command, journal->pid, journal->steps_done, journal->step_count);
        return 0;
    }
    if (mig_reach(apply, journal, MIG_SIDE_NEW, &forth) == 0) {
        tell_recovery(
            apply, MIG_RECOVERY_FINISHED,
            "an interrupted run of %s (pid %u) was finished; it could not be undone: %.96s",
            journal->command, journal->pid, back.message);
        return 0;
    }
    return broken(apply, journal, &back, &forth, error);
}

static int recover(struct mig_apply *apply, const struct mig_journal *journal,
                   struct mig_error *error)
{
    char boot_id[MIG_BOOT_ID_SIZE];
    int rc;

    mig_boot_id(boot_id, sizeof(boot_id));
    if (strcmp(boot_id, journal->boot_id) != 0) {
        tell_recovery(apply, MIG_RECOVERY_OBSOLETE,
                      "a run of %s (pid %u) was interrupted by a reboot, which also ended its "
                      "instances",
                      journal->command, journal->pid);
        return remove_journal(apply, error);
    }
    if (journal->attempt_count >= ATTEMPT_MAX) {
        return set_aside(apply, "failed", "an interrupted run could neither be undone nor finished",
                         error);
    }
    rc = mig_journal_reopen(apply->journal_path, journal, &apply->journal, error);
    if (rc == 0) {
        rc = mig_journal_attempt(&apply->journal, error);
    }
    if (rc == 0) {
        mig_tell(apply, MIG_STAGE_RECOVER, MIG_ID_NONE, "undo or finish an interrupted run");
        rc = settle(apply, journal, error);
    }
    mig_journal_close(&apply->journal);
    return rc < 0 ? rc : remove_journal(apply, error);
}

int mig_recover(struct mig_apply *apply, struct mig_error *error)
{
    MIG_AUTO_FREE char *data = NULL;
    MIG_AUTO_FREE struct mig_journal *journal = malloc(sizeof(*journal));
    struct mig_error reason = {0};
    size_t size = 0;

    if (!journal) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not look for a journal");
    }
    if (mig_file_read(apply->journal_path, MIG_JOURNAL_BYTES_MAX, &data, &size, &reason) < 0) {
        if (reason.code == ENOENT) {
            return 0;
        }
        if (reason.code == EFBIG) {
            return set_aside(apply, "damaged", "the journal of an earlier run is damaged", error);
        }
        if (error) {
            *error = reason;
        }
        return MIG_E_FAILED;
    }
    if (mig_journal_parse(apply->journal_path, data, size, journal, &reason) < 0) {
        return set_aside(apply, "damaged", "the journal of an earlier run is damaged", error);
    }
    return recover(apply, journal, error);
}
