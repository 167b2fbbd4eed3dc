/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities by the system calls themselves: two sets of 64 bits need no library. */
#include "helper/privilege.h"
#include "helper/helper.h"
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(capability) ((uint64_t)1 << (capability))

uint64_t mig_privilege_wanted(void)
{
    return BIT(CAP_SYS_ADMIN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_CHOWN) |
           BIT(CAP_MKNOD) | BIT(CAP_SYS_CHROOT) | BIT(CAP_KILL) | BIT(CAP_SETUID) | BIT(CAP_SETGID);
}

static int read_permitted(uint64_t *ret)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &header, data) < 0) {
        return -errno;
    }
    *ret = (uint64_t)data[1].permitted << 32 | data[0].permitted;
    return 0;
}

static int write_sets(uint64_t kept)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = (uint32_t)kept, .permitted = (uint32_t)kept},
        {.effective = (uint32_t)(kept >> 32), .permitted = (uint32_t)(kept >> 32)},
    };

    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* The bounding set limits what programs that are run get; only one with SETPCAP may reduce it. */
static void reduce_bounding_set(uint64_t kept)
{
    for (unsigned i = 0; i < 64 && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++) {
        if ((kept & BIT(i)) == 0) {
            (void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
        }
    }
}

int mig_privilege_reduce(uint64_t kept, struct mig_error *error)
{
    uint64_t permitted = 0;
    int rc = read_permitted(&permitted);

    if (rc == 0) {
        reduce_bounding_set(kept);
        (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        rc = write_sets(permitted & kept);
    }
    if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not give up privileges");
    }
    return 0;
}

int mig_privilege_isolate(struct mig_error *error)
{
    if (unshare(CLONE_NEWNET) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno,
                                   "could not give the privileged process a network namespace of "
                                   "its own (it opens no network socket either way)");
    }
    return 0;
}

int mig_privilege_die_with(int signal, int parent, struct mig_error *error)
{
    if (prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not bind to the parent");
    }
    if (getppid() != parent) {
        return mig_error_set_errno(error, MIG_E_FAILED, ESRCH, "the parent process has ended");
    }
    return 0;
}

static int change_user(uid_t uid, gid_t gid, struct mig_error *error)
{
    uid_t uids[3];
    gid_t gids[3];

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not become user %u, group %u",
                                   uid, gid);
    }
    if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 ||
        getresgid(&gids[0], &gids[1], &gids[2]) < 0 || uids[0] != uid || uids[1] != uid ||
        uids[2] != uid || gids[0] != gid || gids[1] != gid || gids[2] != gid) {
        return mig_error_set_errno(error, MIG_E_FAILED, EPERM, "could not become user %u, group %u",
                                   uid, gid);
    }
    return 0;
}

int mig_helper_drop_privileges(uid_t uid, gid_t gid, struct mig_error *error)
{
    int parent = getppid();
    uint64_t left = 0;
    int rc = 0;

    /* while it may still be done: what may be gained by running other programs */
    reduce_bounding_set(0);
    if (geteuid() == 0) {
        rc = change_user(uid, gid, error);
    }
    if (rc == 0) {
        rc = mig_privilege_reduce(0, error);
    }
    if (rc == 0 && (read_permitted(&left) < 0 || left != 0)) {
        rc = mig_error_set_errno(error, MIG_E_FAILED, EPERM, "could not give up privileges");
    }
    /* the kernel forgets it when the user changes */
    return rc == 0 ? mig_privilege_die_with(SIGTERM, parent, error) : rc;
}
