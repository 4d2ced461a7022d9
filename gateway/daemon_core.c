// SPDX-License-Identifier: Apache-2.0
// What every part shares, opened in order and closed in reverse. main's thread, or a command's when no daemon runs.
#include "gateway/daemon.h"

#include "gateway/clock.h"

#define MIB (1024ull * 1024)
#define HOUR_US 3600000000ll
#define GROUP_BYTES_MAX (4u << 20)
#define GROUP_TICKETS_MAX 8192

static enum gw_error
open_journal(const struct gw_config *config, struct gw_journal **journal, struct gw_why *why)
{
	struct gw_journal_options options = {
		.dir = config->store_dir,
		.budget_bytes = (uint64_t)config->store_budget_mb * MIB,
		.reserve_bytes = (uint64_t)config->store_reserve_mb * MIB,
		.disk_reserve_bytes = (uint64_t)config->store_disk_reserve_mb * MIB,
		.retention_us = config->store_retention_h * HOUR_US,
		.retention_full_us = config->store_retention_full_h * HOUR_US,
		.quarantine_bytes = (uint64_t)config->store_quarantine_mb * MIB,
		.quarantine_share_percent = (uint32_t)config->store_quarantine_share_percent,
		.series_max = (uint32_t)config->store_series_max,
		.series_share_percent = (uint32_t)config->store_series_share_percent,
		.audit_us = config->store_audit_d * 24 * HOUR_US,
		.audit_bytes = (uint64_t)config->store_audit_mb * MIB,
	};

	return gw_journal_open(&options, journal, why);
}

static enum gw_error
open_patients(const struct gw_config *config, struct gw_core *core, struct gw_why *why)
{
	int64_t keep_h = config->patients_keep_h > config->store_retention_h ? config->patients_keep_h : config->store_retention_h;
	struct gw_patients_options options = { .keep_us = keep_h * HOUR_US, .patients_max = (uint32_t)config->patients_max };
	enum gw_error error = gw_patients_open(core->journal, core->intake, core->registry, &core->patients, why);

	if (error == GW_OK)
		gw_patients_configure(core->patients, &options);
	return error;
}

enum gw_error
gw_core_open(const struct gw_config *config, void (*failed)(void *arg, enum gw_error error), void *arg, struct gw_core *core,
    struct gw_why *why)
{
	struct gw_intake_options intake = { .group_bytes_max = GROUP_BYTES_MAX, .group_tickets_max = GROUP_TICKETS_MAX, .failed = failed, .arg = arg };
	struct gw_profiles *profiles = NULL;
	enum gw_error error;

	*core = (struct gw_core){ .config = config, .started_us = gw_clock_wall_us() };
	if ((error = gw_nomenclature_open(why)) != GW_OK)
		return error;
	if ((error = gw_profiles_load(config->profiles_dir[0] != '\0' ? config->profiles_dir : NULL, &profiles, why)) != GW_OK)
		return error;
	core->profiles = profiles;
	if ((error = open_journal(config, &core->journal, why)) != GW_OK)
		goto fail_journal;
	intake.journal = core->journal;
	if ((error = gw_intake_open(&intake, &core->intake, why)) != GW_OK)
		goto fail_intake;
	if ((error = gw_registry_open(core->journal, core->intake, &core->registry, why)) != GW_OK)
		goto fail_registry;
	if ((error = open_patients(config, core, why)) != GW_OK)
		goto fail_patients;
	return GW_OK;

fail_patients:
	gw_registry_close(core->registry);
fail_registry:
	gw_intake_stop(core->intake);
	gw_intake_close(core->intake);
fail_intake:
	gw_journal_close(core->journal);
fail_journal:
	gw_profiles_free(profiles);
	return error;
}

void
gw_core_close(struct gw_core *core)
{
	gw_patients_close(core->patients);
	gw_registry_close(core->registry);
	gw_intake_stop(core->intake);
	gw_intake_close(core->intake);
	gw_journal_close(core->journal);
	gw_profiles_free((struct gw_profiles *)(uintptr_t)core->profiles); // constant for everybody else; opened here
}
