// SPDX-License-Identifier: Apache-2.0
// A whole core in a fresh temporary directory, from a configuration in YAML. For the tests of the inbound HL7 door.
#ifndef HL7_IN_HELP_H
#define HL7_IN_HELP_H

#include "adapters/hl7/in_take.h"

#include "gateway/clock.h"
#include "gateway/daemon.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static char hub_dir[512];
static struct gw_config *hub_config;
static struct gw_core hub;

static inline int
hub_remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat, (void)type, (void)ftw;
	return remove(path);
}

static inline int
hub_make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(hub_dir, sizeof(hub_dir), "%s/hl7-in-test-XXXXXX", tmp != NULL ? tmp : P_tmpdir);
	return mkdtemp(hub_dir) != NULL ? 0 : -1;
}

static inline int
hub_remove_dir(void **state)
{
	(void)state;
	nftw(hub_dir, hub_remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

// GW_OK, or what is wrong with it.
static inline enum gw_error
hub_load(const char *yaml, struct gw_why *why)
{
	char path[600];
	FILE *file;

	snprintf(path, sizeof(path), "%s/vitalgate.yaml", hub_dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(yaml, file) >= 0 && fclose(file) == 0);
	return gw_config_load(path, &hub_config, why);
}

static inline void
hub_open(const char *yaml)
{
	struct gw_why why = { "" };

	if (hub_load(yaml, &why) != GW_OK || gw_core_open(hub_config, NULL, NULL, &hub, &why) != GW_OK ||
	    gw_refusals_open(hub.intake, &hub.refusals, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static inline void
hub_close(void)
{
	gw_refusals_close(hub.refusals);
	hub.refusals = NULL;
	gw_core_close(&hub);
	gw_config_free(hub_config);
	hub_config = NULL;
}

#define HUB_YAML(peers, more) "store:\n  dir: data\n  budget_mb: 64\n  reserve_mb: 8\n  disk_reserve_mb: 0\n  quarantine_mb: 4\nhl7_in:\n  enabled: true\n" \
	"  address: 127.0.0.1\n" more "  peers:\n" peers

// A message of ADT, with what comes after MSH-9 and the other segments.
#define MSH(type, id) "MSH|^~\\&|ADT1|KLINIK|VG|H|20261120101500+0000||" type "|" id "|P|2.5"
#define PID(id) "\rPID|1||" id "^^^KLINIK^PI||Muster^Max||19600101|M"
#define PV1(bed) "\rPV1|1|I|ICU^^" bed "^KLINIK|||||||||||||||||V1\r"

#endif
