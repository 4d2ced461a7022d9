// SPDX-License-Identifier: Apache-2.0
// The head of an encrypted file of a backup (schemas/backup-format.md), for backup_*.c only. Little-endian.
#ifndef GW_BACKUP_FORMAT_H
#define GW_BACKUP_FORMAT_H

#include "gateway/backup_file.h"
#include "gateway/bytes.h"

#include <sodium.h>

#define GW_BACKUP_MAGIC "VGBACKUP"
#define GW_BACKUP_FILE_VERSION 1

enum {
	GW_BACKUP_HEAD_VERSION = 8,  // u8
	GW_BACKUP_HEAD_CIPHER = 9,   // u8
	GW_BACKUP_HEAD_CHUNK = 12,   // u32
	GW_BACKUP_HEAD_FIELD = 16,
	GW_BACKUP_HEAD_NAME = GW_BACKUP_HEAD_FIELD + GW_BACKUP_FIELD, // 16 bytes, padded with 0
	GW_BACKUP_HEAD_ID = GW_BACKUP_HEAD_NAME + 16,
	GW_BACKUP_HEAD_STREAM = GW_BACKUP_HEAD_ID + GW_BACKUP_ID,     // secretstream's own header
	GW_BACKUP_HEAD = GW_BACKUP_HEAD_STREAM + 24,
};
_Static_assert(crypto_secretstream_xchacha20poly1305_HEADERBYTES == 24, "the format says 24");
_Static_assert(crypto_box_SEALBYTES + GW_BACKUP_KEY == GW_BACKUP_FIELD, "a sealed key fills the field");

// All but secretstream's header.
static inline void
gw_backup_head_put(uint8_t head[GW_BACKUP_HEAD], const struct gw_backup_key *key, const char *name, const uint8_t *id)
{
	memset(head, 0, GW_BACKUP_HEAD);
	memcpy(head, GW_BACKUP_MAGIC, 8);
	head[GW_BACKUP_HEAD_VERSION] = GW_BACKUP_FILE_VERSION;
	head[GW_BACKUP_HEAD_CIPHER] = (uint8_t)key->cipher;
	gw_put32(head + GW_BACKUP_HEAD_CHUNK, GW_BACKUP_CHUNK);
	memcpy(head + GW_BACKUP_HEAD_FIELD, key->field, GW_BACKUP_FIELD);
	memcpy(head + GW_BACKUP_HEAD_NAME, name, strnlen(name, 15));
	memcpy(head + GW_BACKUP_HEAD_ID, id, GW_BACKUP_ID);
}

#endif
