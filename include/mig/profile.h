/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar of MIG profile names: [Cc.]Gg.Mgb[+attr{,attr} | -attr{,attr}]
 *
 * Names are what people write in config files; they mean something only on a given model. Parsing
 * is a matter of spelling and accepts what nvidia-mig-parted accepts. Resolving looks the name up
 * on a model and forgives the spellings that the field mixes: a redundant compute part
 * (7c.7g.40gb), and memory figures that differ by the rounding of a driver (7g.79gb for 7g.80gb).
 */
#ifndef MIG_PROFILE_H
#define MIG_PROFILE_H

#include <mig/model.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_ATTRIBUTE_MAX 4

struct mig_profile_name {
    uint16_t compute; /* C; equals gpu when not written */
    uint16_t gpu;     /* G */
    uint32_t memory;  /* M, in "gb" as printed in names (GiB, rounded by the driver) */
    char sign;        /* '+', '-' or 0 when there are no attributes */
    uint8_t attribute_count;
    char attributes[MIG_ATTRIBUTE_MAX][16]; /* as written, "me.all" */
};

/* Parses `text`. Fails with MIG_E_CONFIG and a message that names the offending part and its
 * offset. */
MIG_PUBLIC int mig_profile_parse(const char *text, struct mig_profile_name *ret,
                                 struct mig_error *error);

/* Writes the canonical spelling ("1g.5gb", "1c.3g.20gb+me") into buffer; always terminated. Returns
 * buffer. */
MIG_PUBLIC char *mig_profile_format(const struct mig_profile_name *name, char *buffer, size_t size);

/* A profile name resolved on a model. */
struct mig_device_kind {
    uint8_t profile;    /* index into model->profiles */
    uint8_t ci_profile; /* index into that profile's ci_profiles */
};

/*
 * Resolves a name on a model. MIG_E_CONFIG when it is not spelled like a profile, MIG_E_NO_FIT when
 * the model has no such profile; then the message lists what is closest and the hint all that the
 * model has. Where a GPU instance has two compute profiles of one name, the default goes first,
 * then the one with the lowest NVML enum.
 */
MIG_PUBLIC int mig_profile_resolve(const struct mig_model *model, const char *text,
                                   struct mig_device_kind *ret, struct mig_error *error);

/* The name of a MIG device with this kind: the GI's name, or the CI profile's when it is a part. */
MIG_PUBLIC const char *mig_device_kind_name(const struct mig_model *model,
                                            struct mig_device_kind kind);

#ifdef __cplusplus
}
#endif
#endif
