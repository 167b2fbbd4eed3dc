/* SPDX-License-Identifier: Apache-2.0 */
/* What cases of the manager say of their world. */
#include "manager_world.h"
#include <string.h>

void close_world(struct world *world)
{
    assert_null(world->violation);
    world_close(world);
}

void assert_state(const struct world *world, const char *state)
{
    assert_non_null(world_get(world, STATE));
    assert_string_equal(world_get(world, STATE), state);
}

void assert_message(const struct world *world, const char *part)
{
    const char *message = world_get(world, MESSAGE);

    assert_non_null(message);
    if (!strstr(message, part)) {
        fail_msg("'%s' is not in '%s'", part, message);
    }
}
