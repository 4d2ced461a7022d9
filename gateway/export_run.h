// SPDX-License-Identifier: Apache-2.0
// From questions to a file's bytes: asks the series store piece by piece, writes rows in large pieces, and holds nothing while whoever takes them is slow. The
// caller's thread.
#ifndef GW_EXPORT_RUN_H
#define GW_EXPORT_RUN_H

#include "gateway/export.h"

struct gw_export_progress {
	uint64_t rows, bytes; // so far
	double part;          // of all there is to do, about: 0..1
};

struct gw_export_io {
	void *arg;
	// The store may be used from hold to release; it may be another one each time. Where hold fails nothing is held: release may be called then, and need not be.
	enum gw_error (*hold)(void *arg, struct gw_series_store **store);
	void (*release)(void *arg);
	// Takes bytes: what it can at once (*taken), or, with wait, all of them; then the store is not held. An error ends it.
	enum gw_error (*write)(void *arg, const char *at, size_t len, bool wait, size_t *taken);
	// Now and then, with the store not held. False: end.
	bool (*tick)(void *arg, const struct gw_export_progress *progress);
	// Says whose a row is, where rows differ in that; may be NULL.
	void (*whose)(void *arg, struct gw_export_row *row);
};

struct gw_export_ask {
	const struct gw_series_want *wants; // one after the other
	size_t count;
	uint64_t limit;                     // rows in all; 0: no limit
	struct gw_span bed, patient;        // of all rows, as the writer's options ask
	struct gw_patients *patients;       // for wants by bed or patient
};

struct gw_export_done {
	uint64_t bytes;
	uint64_t unsure;   // readings that were left out: they may be another's
	uint64_t doubted;  // of them those by a clock that was not sure
	struct gw_export_counts counts;
};

// GW_E_STOPPING: tick said so. why has words.
enum gw_error gw_export_run(const struct gw_export_io *io, const struct gw_export_ask *ask, struct gw_export_writer *writer, struct gw_export_done *done,
    struct gw_why *why);

// The devices of a ward (as `latest` has them), or of all that the store has readings of: sorted, each once; the caller frees *ids.
enum gw_error gw_export_devices(struct gw_series_store *store, struct gw_patients *patients, struct gw_registry *registry, struct gw_span ward,
    char (**ids)[GW_ID_MAX + 1], size_t *count);

#endif
