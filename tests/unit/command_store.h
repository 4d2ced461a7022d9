// SPDX-License-Identifier: Apache-2.0
// A real store in a folder of its own for tests of commands: configuration, journal, intake, registry, profiles. For one test program at a time.
#ifndef COMMAND_STORE_H
#define COMMAND_STORE_H

#include "gateway/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct store {
	char dir[48];
	struct gw_config *config;
	struct gw_core core;
};

static inline void
must(enum gw_error error, const struct gw_why *why)
{
	if (error != GW_OK)
		fail_msg("%s: %s", gw_error_name(error), why->text);
}

static inline int
store_open(void **state)
{
	struct store *store = calloc(1, sizeof(*store));
	struct gw_why why = { "" };
	char path[80];
	FILE *out;

	strcpy(store->dir, "/tmp/vitalgate-command-XXXXXX");
	if (mkdtemp(store->dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/vitalgate.yaml", store->dir);
	out = fopen(path, "w");
	fputs("store:\n  budget_mb: 64\n  reserve_mb: 8\n  disk_reserve_mb: 0\n", out);
	fclose(out);
	must(gw_config_load(path, &store->config, &why), &why);
	must(gw_core_open(store->config, NULL, NULL, &store->core, &why), &why);
	*state = store;
	return 0;
}

static inline int
store_close(void **state)
{
	struct store *store = *state;
	char command[80];

	gw_core_close(&store->core);
	gw_config_free(store->config);
	snprintf(command, sizeof(command), "rm -rf %s", store->dir);
	if (system(command) != 0)
		return -1;
	free(store);
	return 0;
}

#endif
