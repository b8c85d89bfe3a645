/* A limit order book on pools: orders and price levels come from pools that are warm before trading begins,
   so the hot path makes no allocation that the pools cannot serve from what is there. It shows so by counts:
   objects made and bytes held are the same after a million messages as before.

   A price is a whole number of ticks. Each side has an array of levels by price; a level is a list of orders
   in the order of their arrival. An order that crosses the other side's best price trades with the orders
   there, oldest first. What is left of it rests. Messages are random: three in four are new orders, the rest
   cancel one. */
#include <umalloc/pool.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TICKS    1024
#define ORDERS   65536 /* that may rest at a time */
#define MESSAGES 1000000

enum side { BUY, SELL };

typedef struct order {
    struct order *next, *previous;
    struct level *level;
    uint32_t number, quantity;
} order;

typedef struct level {
    order *first, *last;
    enum side side;
    uint32_t price;
} level;

static um_pool *orders, *levels;
static level *book[2][TICKS];
static int best[2] = {-1, TICKS}; /* highest price to buy, lowest to sell */
static order *by_number[ORDERS];
static uint64_t traded, rested, cancelled, refused;

static uint64_t next_random(void) {
    static uint64_t state = 88172645463325252u; /* Marsaglia's xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void move_best(enum side side) {
    int step = side == BUY ? -1 : 1;
    while (best[side] >= 0 && best[side] < TICKS && !book[side][best[side]])
        best[side] += step;
}

static void remove_order(order *o) {
    level *l = o->level;
    *(o->previous ? &o->previous->next : &l->first) = o->next;
    *(o->next ? &o->next->previous : &l->last) = o->previous;
    by_number[o->number] = NULL;
    um_pool_free(orders, o);
    if (!l->first) {
        enum side side = l->side;
        book[side][l->price] = NULL;
        um_pool_free(levels, l);
        move_best(side);
    }
}

static void rest(enum side side, int price, uint32_t number, uint32_t quantity) {
    level *l = book[side][price];
    order *o = um_pool_alloc(orders);
    if (o && !l && (l = um_pool_alloc(levels)) != NULL) {
        *l = (level){.side = side, .price = (uint32_t)price};
        book[side][price] = l;
        if (side == BUY ? price > best[BUY] : price < best[SELL])
            best[side] = price;
    }
    if (!o || !l) {
        if (o)
            um_pool_free(orders, o);
        refused++;
        return;
    }
    *o = (order){.previous = l->last, .level = l, .number = number, .quantity = quantity};
    *(l->last ? &l->last->next : &l->first) = o;
    l->last = o;
    by_number[number] = o;
    rested++;
}

static void add(enum side side, int price, uint32_t number, uint32_t quantity) {
    enum side other = side == BUY ? SELL : BUY;
    while (quantity > 0 && best[other] >= 0 && best[other] < TICKS &&
           (side == BUY ? best[other] <= price : best[other] >= price)) {
        order *o = book[other][best[other]]->first;
        uint32_t n = o->quantity < quantity ? o->quantity : quantity;
        o->quantity -= n;
        quantity -= n;
        traded += n;
        if (o->quantity == 0)
            remove_order(o);
    }
    if (quantity > 0)
        rest(side, price, number, quantity);
}

static void message(void) {
    uint64_t random = next_random();
    uint32_t number = (uint32_t)(random >> 8) % ORDERS;
    enum side side = random & 1 ? BUY : SELL;
    if (by_number[number]) {
        remove_order(by_number[number]);
        cancelled++;
    } else if (random >> 40 & 3) {
        int middle = TICKS / 2 + (side == BUY ? -8 : 8), away = (int)(random >> 44 & 31) - 16;
        add(side, middle + away, number, 1 + (uint32_t)(random >> 52 & 127));
    }
}

int main(void) {
    um_pool_stats before, after, ladders;
    orders = um_pool_new(&(um_pool_options){.bytes = sizeof(order),
                                            .max_objects = ORDERS + 256,
                                            .ready_objects = ORDERS + 256,
                                            .flags = UM_POOL_CACHE_LINE});
    levels = um_pool_new(&(um_pool_options){
        .bytes = sizeof(level), .max_objects = 2 * TICKS + 256, .ready_objects = 2 * TICKS + 256});
    if (!orders || !levels || um_pool_warm(orders) || um_pool_warm(levels)) {
        fprintf(stderr, "order_book: no memory for the pools\n");
        return EXIT_FAILURE;
    }
    um_pool_read_stats(orders, &before);
    for (int i = 0; i < MESSAGES; i++)
        message();
    um_pool_read_stats(orders, &after);
    um_pool_read_stats(levels, &ladders);
    printf("%d messages: %llu orders rested, %llu cancelled, %llu shares traded; %zu orders and %zu levels "
           "open\n",
           MESSAGES, (unsigned long long)rested, (unsigned long long)cancelled, (unsigned long long)traded,
           after.in_use, ladders.in_use);
    printf("on the way: %zu objects made, %zu bytes taken, %llu refused\n", after.made - before.made,
           after.held_bytes - before.held_bytes,
           (unsigned long long)(refused + after.failures + ladders.failures));
    um_pool_delete(orders);
    um_pool_delete(levels);
    return EXIT_SUCCESS;
}
