/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what is read from sysfs about a GPU. */
#include "base/cleanup.h"
#include "base/file.h"
#include "gpu/pci.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SPACE 256

/* A configuration space with a chain of two capabilities, the second NVIDIA's. */
static void fill(unsigned char *space)
{
    memset(space, 0, SPACE);
    space[0x06] = 0x10;
    space[0x34] = 0x40;
    space[0x40] = 0x05;
    space[0x41] = 0x60;
    space[0x60] = 0x09;
    space[0x62] = 5 + 4 + 22;
    memcpy(space + 0x63, "VF", 2);
    space[0x65] = 2; /* a record of another type first */
    space[0x66] = 4;
    space[0x69] = 0;
    space[0x6a] = 22;
    memcpy(space + 0x6b, "470.63\0\0\0\0r470_00\0\0\0", 20);
}

static void test_g12_vgpu_in_configuration_space(void **state)
{
    unsigned char space[SPACE];
    char version[MIG_VGPU_TEXT_SIZE], branch[MIG_VGPU_TEXT_SIZE];

    (void)state;
    fill(space);
    assert_true(mig_pci_parse_vgpu(space, SPACE, version, branch));
    assert_string_equal(version, "470.63");
    assert_string_equal(branch, "r470_00");
    space[0x64] = 'X';
    assert_false(mig_pci_parse_vgpu(space, SPACE, version, branch));
    fill(space);
    assert_false(mig_pci_parse_vgpu(space, 64, version, branch));
}

/* Loops, cut records and lengths that lie end, whatever the bytes are. */
static void test_bad_configuration_space(void **state)
{
    unsigned char space[SPACE];
    char version[MIG_VGPU_TEXT_SIZE], branch[MIG_VGPU_TEXT_SIZE];

    (void)state;
    fill(space);
    space[0x41] = 0x40;
    assert_false(mig_pci_parse_vgpu(space, SPACE, version, branch));
    fill(space);
    space[0x66] = 0; /* a record without length */
    assert_true(mig_pci_parse_vgpu(space, SPACE, version, branch));
    assert_string_equal(version, "");
    fill(space);
    space[0x62] = 0xff; /* reaches beyond the end */
    assert_false(mig_pci_parse_vgpu(space, SPACE, version, branch));
    for (unsigned at = 0; at < SPACE; at++) {
        for (size_t size = 0; size <= SPACE; size += 16) {
            fill(space);
            space[at] = (unsigned char)(at * 37);
            (void)mig_pci_parse_vgpu(space, size, version, branch);
        }
    }
}

#define FOLDER "sys/bus/pci/devices/0000:3b:00.0"

static void put(const char *root, const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/" FOLDER "/%s", root, name);
    assert_int_equal(mig_file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static void remove_tree(const char *root)
{
    static const char *const parts[] = {("/" FOLDER "/class"),
                                        ("/" FOLDER "/numa_node"),
                                        ("/" FOLDER),
                                        "/sys/bus/pci/devices",
                                        "/sys/bus/pci",
                                        "/sys/bus",
                                        "/sys",
                                        ""};
    char path[256];

    for (size_t i = 0; i < MIG_ARRAY_SIZE(parts); i++) {
        snprintf(path, sizeof(path), "%s%s", root, parts[i]);
        assert_int_equal(remove(path), 0);
    }
}

static void test_sysfs(void **state)
{
    char root[] = "/tmp/mig-pci-XXXXXX", path[256];
    struct mig_gpu gpu = {.bus_id = "00000000:3B:00.0", .numa_node = MIG_UNKNOWN};

    (void)state;
    assert_non_null(mkdtemp(root));
    mig_pci_read(root, &gpu);
    assert_int_equal(gpu.pci_class, 0);
    assert_int_equal(gpu.numa_node, MIG_UNKNOWN);
    snprintf(path, sizeof(path), "%s/" FOLDER, root);
    assert_int_equal(mig_mkdir_parents(path, 0755, NULL), 0);
    put(root, "class", "0x030200\n");
    put(root, "numa_node", "-1\n");
    mig_pci_read(root, &gpu);
    assert_int_equal(gpu.pci_class, 0x030200);
    assert_int_equal(gpu.numa_node, MIG_UNKNOWN);
    put(root, "numa_node", "1\n");
    mig_pci_read(root, &gpu);
    assert_int_equal(gpu.numa_node, 1);
    /* no way out of the folder */
    gpu = (struct mig_gpu){.bus_id = "../../x"};
    mig_pci_read(root, &gpu);
    assert_int_equal(gpu.pci_class, 0);
    remove_tree(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_g12_vgpu_in_configuration_space),
        cmocka_unit_test(test_bad_configuration_space),
        cmocka_unit_test(test_sysfs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
