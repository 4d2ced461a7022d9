// SPDX-License-Identifier: Apache-2.0
// What gateway/commands.def names for the command line; each is explained where it stands.
#ifndef GW_CLI_HANDLERS_H
#define GW_CLI_HANDLERS_H

#include "gateway/cli.h"

gw_cli_fn gw_cli_run, gw_cli_check, gw_cli_options, gw_cli_help, gw_cli_backup_key, gw_cli_restore, gw_cli_salvage;

gw_show_fn gw_show_status, gw_show_device_added, gw_show_device, gw_show_devices, gw_show_imported, gw_show_readings, gw_show_quarantine;
gw_show_fn gw_show_quarantined, gw_show_parked, gw_show_filed, gw_show_message, gw_show_outlets, gw_show_profiles, gw_show_profile, gw_show_lines;
gw_show_fn gw_show_certificates, gw_show_authority, gw_show_issued;
gw_show_fn gw_show_query, gw_show_latest, gw_show_timeline, gw_show_erasure, gw_show_audit, gw_show_events, gw_show_document, gw_show_patient_export, gw_show_census, gw_show_trace, gw_show_backup, gw_show_verify, gw_show_rebuild, gw_show_export;

#endif
