// SPDX-License-Identifier: Apache-2.0
// The handlers that gateway/commands.def names; each is explained where it stands.
#ifndef GW_COMMAND_HANDLERS_H
#define GW_COMMAND_HANDLERS_H

#include "gateway/command.h"

gw_command_fn gw_command_status, gw_command_device_add, gw_command_device_show, gw_command_device_list;
gw_command_fn gw_command_device_disable, gw_command_device_enable, gw_command_device_remove, gw_command_device_import;
gw_command_fn gw_command_device_rotate, gw_command_device_issue, gw_command_device_revoke;
gw_command_fn gw_command_cert_show, gw_command_cert_ca, gw_command_cert_list, gw_command_cert_issue, gw_command_cert_revoke;
gw_command_fn gw_command_query, gw_command_latest, gw_command_export;
gw_command_fn gw_command_readings, gw_command_trace, gw_command_quarantine_list, gw_command_quarantine_show, gw_command_quarantine_replay;
gw_command_fn gw_command_quarantine_drop, gw_command_outlet_list, gw_command_outlet_rewind, gw_command_outlet_retry, gw_command_outlet_drop, gw_command_hl7_list, gw_command_hl7_show, gw_command_hl7_held,
    gw_command_hl7_misfiled;
gw_command_fn gw_command_hl7_retry, gw_command_hl7_drop, gw_command_profile_list, gw_command_profile_show;
gw_command_fn gw_command_associate, gw_command_dissociate, gw_command_place, gw_command_unplace, gw_command_patient_show, gw_command_patient_conflicts;
gw_command_fn gw_command_patient_export, gw_command_audit, gw_command_events, gw_command_patient_erase, gw_command_patient_erasures;
gw_command_fn gw_command_backup, gw_command_verify, gw_command_rebuild;
gw_command_fn gw_command_census_import, gw_command_patient_merge, gw_command_patient_distinct, gw_command_reload, gw_command_cert_reload;

#endif
