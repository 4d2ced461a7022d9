// SPDX-License-Identifier: Apache-2.0
// For gateway/series_query*.c, series_latest.c and export*.c only: whose a stored reading is, and which series are asked about. See gateway/series_query.h for the rule.
#ifndef GW_SERIES_WHOSE_H
#define GW_SERIES_WHOSE_H

#include "gateway/series_clocks.h"
#include "gateway/series_query.h"

enum gw_belongs { GW_BELONGS_NOT, GW_BELONGS, GW_BELONGS_UNSURE };

// The last answers are kept: neighbours usually share them.
struct gw_series_whose {
	struct gw_series_store *store; // whose histories of clocks are asked; NULL: none are. May change between calls
	struct gw_patients *patients;
	uint64_t patient;         // whom; 0: the bed
	char bed[GW_BED_MAX + 1]; // both empty: everything belongs
	bool doubted;             // of the last that was unsure: the clock was; else its moment lies too near to a change
	struct gw_owner owner;    // of `device`
	bool it;                  // that is whom is asked for
	char device[GW_ID_MAX + 1];
	bool kept;
	char clock_device[GW_ID_MAX + 1];
	bool clock_known;         // clock is a copy of its history
	struct gw_clock_pieces clock;
};
enum gw_belongs gw_series_belongs(struct gw_series_whose *whose, const char *device, const struct gw_point *point);
// Readings of a device whose time is in [first_us, last_us], both included, and whose receive time less it in [delay_least, delay_most]; numbers, no samples.
struct gw_series_span {
	int64_t first_us, last_us, delay_least, delay_most;
};
// What gw_series_belongs() says of each of them, whichever there are: GW_BELONGS, or GW_BELONGS_NOT. GW_BELONGS_UNSURE: each has to be asked about.
enum gw_belongs gw_series_belongs_all(struct gw_series_whose *whose, const char *device, const struct gw_series_span *span);
// Between which moments, both included, a reading was taken. False: its device's clock was not sure then.
bool gw_series_when(struct gw_series_whose *whose, const char *device, const struct gw_point *point, int64_t *first_us, int64_t *last_us);

// Whether a signal's name fits one of the names and patterns; empty: all do.
bool gw_series_signal_fits(struct gw_span signals, uint32_t signal);
// Names that are no signal's and no pattern.
enum gw_error gw_series_signals_check(struct gw_span signals, struct gw_why *why);

// Devices, sorted, each once; the caller frees at.
struct gw_series_devices {
	char (*at)[GW_ID_MAX + 1];
	size_t count, cap;
};
enum gw_error gw_series_devices_add(struct gw_series_devices *devices, const char *id);
enum gw_error gw_series_devices_of_bed(struct gw_series_devices *devices, struct gw_patients *patients, struct gw_span bed, int64_t from_us, int64_t to_us);
// Whatever may ever have measured the patient.
enum gw_error gw_series_devices_of_patient(struct gw_series_devices *devices, struct gw_patients *patients, uint64_t patient);
void gw_series_devices_sort(struct gw_series_devices *devices);

// The series of a device (empty: all devices) whose signals fit, by device, signal, instance; the caller frees at.
struct gw_series_infos {
	struct gw_series_info *at;
	size_t count, cap;
	struct gw_span signals;
	bool numbers_only, failed;
};
enum gw_error gw_series_infos_add(struct gw_series_infos *infos, struct gw_series_store *store, struct gw_span device);
void gw_series_infos_sort(struct gw_series_infos *infos);

#endif
