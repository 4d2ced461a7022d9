// SPDX-License-Identifier: Apache-2.0
// Small rows with those that are damaged, for who has to know that something is missing. As gw_journal_each() (gateway/journal.h).
#ifndef GW_JOURNAL_ROWS_H
#define GW_JOURNAL_ROWS_H

#include "gateway/journal.h"

// damaged gets rows that do not match their checksums, with the bytes as they lie there; NULL: they are left out.
enum gw_error gw_rows_each(struct gw_journal *journal, struct gw_span prefix, struct gw_span after, gw_row_fn *fn, gw_row_fn *damaged, void *arg);

#endif
