// SPDX-License-Identifier: Apache-2.0
// Block-wise uploads. The adapter's thread; nothing is kept of a body that ended, well or badly.
#include "adapters/coap/upload.h"

#include <stdlib.h>

struct gw_coap_upload {
	struct gw_coap_upload *next;
	const void *owner;
	uint64_t key;
	int64_t touched_us;
	uint8_t *body;
	size_t len, cap;
};

static struct gw_coap_upload **
bucket(struct gw_coap_uploads *uploads, const void *owner, uint64_t key)
{
	uint64_t hash = (key ^ (uint64_t)(uintptr_t)owner) * UINT64_C(0x9e3779b97f4a7c15);

	return &uploads->buckets[hash >> 56];
}

// The link that points to the upload, or the end of its list.
static struct gw_coap_upload **
find(struct gw_coap_uploads *uploads, const void *owner, uint64_t key)
{
	struct gw_coap_upload **link = bucket(uploads, owner, key);

	while (*link != NULL && ((*link)->owner != owner || (*link)->key != key))
		link = &(*link)->next;
	return link;
}

static void
end(struct gw_coap_uploads *uploads, struct gw_coap_upload **link)
{
	struct gw_coap_upload *upload = *link;

	*link = upload->next;
	uploads->count--;
	free(upload->body);
	free(upload);
}

static void
keep_share(struct gw_coap_uploads *uploads, const void *owner)
{
	struct gw_coap_upload **silent = NULL;
	size_t count = 0;

	for (size_t i = 0; i < GW_COAP_UPLOAD_BUCKETS; i++)
		for (struct gw_coap_upload **link = &uploads->buckets[i]; *link != NULL; link = &(*link)->next) {
			if ((*link)->owner != owner)
				continue;
			count++;
			if (silent == NULL || (*link)->touched_us < (*silent)->touched_us)
				silent = link;
		}
	if (count >= uploads->of_one && silent != NULL)
		end(uploads, silent);
}

static bool
begin(struct gw_coap_uploads *uploads, const void *owner, uint64_t key)
{
	struct gw_coap_upload *upload, **link;

	keep_share(uploads, owner);
	if (uploads->count >= uploads->max)
		return false;
	upload = calloc(1, sizeof(*upload));
	if (upload == NULL)
		return false;
	link = find(uploads, owner, key);
	upload->owner = owner;
	upload->key = key;
	*link = upload;
	uploads->count++;
	return true;
}

static bool
append(struct gw_coap_upload *upload, struct gw_span payload, size_t bytes_max)
{
	size_t need = upload->len + payload.len;

	if (need > upload->cap) {
		size_t cap = upload->cap * 2 > need ? upload->cap * 2 : need + 1024;
		uint8_t *grown = realloc(upload->body, cap < bytes_max ? cap : bytes_max);
		if (grown == NULL)
			return false;
		upload->body = grown;
		upload->cap = cap < bytes_max ? cap : bytes_max;
	}
	if (payload.len > 0)
		memcpy(upload->body + upload->len, payload.at, payload.len);
	upload->len = need;
	return true;
}

static enum gw_coap_block_result
check(const struct gw_coap_uploads *uploads, const struct gw_coap_block *block)
{
	size_t size = (size_t)16 << block->szx;

	if (block->szx > 6 || block->payload.len > size || (block->more && block->payload.len != size))
		return GW_COAP_BLOCK_BAD;
	if (block->size1 > uploads->bytes_max || (size_t)block->num * size + block->payload.len > uploads->bytes_max)
		return GW_COAP_BLOCK_TOO_LARGE;
	return GW_COAP_BLOCK_CONTINUE;
}

// The block at its offset: the next one, a copy of the last one, or one too far.
static enum gw_coap_block_result
place(struct gw_coap_upload *upload, const struct gw_coap_block *block, size_t bytes_max)
{
	size_t at = (size_t)block->num * ((size_t)16 << block->szx);

	if (at == upload->len)
		return append(upload, block->payload, bytes_max) ? GW_COAP_BLOCK_CONTINUE : GW_COAP_BLOCK_BUSY;
	if (at + block->payload.len == upload->len && block->more &&
	    memcmp(upload->body + at, block->payload.at, block->payload.len) == 0)
		return GW_COAP_BLOCK_CONTINUE;
	return GW_COAP_BLOCK_INCOMPLETE;
}

static enum gw_coap_block_result
take(struct gw_coap_uploads *uploads, struct gw_coap_upload **link, const void *owner, uint64_t key, const struct gw_coap_block *block)
{
	enum gw_coap_block_result result = check(uploads, block);

	if (result != GW_COAP_BLOCK_CONTINUE)
		return result;
	if (block->num == 0 && *link != NULL)
		end(uploads, link), link = find(uploads, owner, key);
	if (block->num != 0 && *link == NULL)
		return GW_COAP_BLOCK_INCOMPLETE;
	if (*link == NULL) {
		if (!begin(uploads, owner, key))
			return GW_COAP_BLOCK_BUSY;
		link = find(uploads, owner, key);
	}
	return place(*link, block, uploads->bytes_max);
}

enum gw_coap_block_result
gw_coap_upload_block(struct gw_coap_uploads *uploads, const void *owner, uint64_t key, const struct gw_coap_block *block, int64_t now_us,
    uint8_t **body, size_t *body_len)
{
	struct gw_coap_upload **link = find(uploads, owner, key);
	enum gw_coap_block_result result = take(uploads, link, owner, key, block);

	link = find(uploads, owner, key);
	if (result == GW_COAP_BLOCK_CONTINUE && block->more) {
		(*link)->touched_us = now_us;
		return result;
	}
	if (result == GW_COAP_BLOCK_CONTINUE) {
		result = GW_COAP_BLOCK_COMPLETE;
		*body = (*link)->body;
		*body_len = (*link)->len;
		(*link)->body = NULL;
	}
	if (*link != NULL)
		end(uploads, link);
	return result;
}

typedef bool over_fn(const struct gw_coap_upload *upload, const void *owner, int64_t before_us);

static size_t
sweep(struct gw_coap_uploads *uploads, over_fn *over, const void *owner, int64_t before_us)
{
	size_t ended = 0;

	for (size_t i = 0; i < GW_COAP_UPLOAD_BUCKETS && uploads->count > 0; i++)
		for (struct gw_coap_upload **link = &uploads->buckets[i]; *link != NULL;)
			if (over(*link, owner, before_us))
				end(uploads, link), ended++;
			else
				link = &(*link)->next;
	return ended;
}

static bool
of_owner(const struct gw_coap_upload *upload, const void *owner, int64_t before_us)
{
	(void)before_us;
	return owner == NULL || upload->owner == owner;
}

static bool
is_silent(const struct gw_coap_upload *upload, const void *owner, int64_t before_us)
{
	(void)owner;
	return upload->touched_us < before_us;
}

void
gw_coap_uploads_drop(struct gw_coap_uploads *uploads, const void *owner)
{
	sweep(uploads, of_owner, owner, 0);
}

size_t
gw_coap_uploads_expire(struct gw_coap_uploads *uploads, int64_t now_us)
{
	return sweep(uploads, is_silent, NULL, now_us - uploads->idle_us_max);
}
