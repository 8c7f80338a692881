-- Kindred's profile in hand-written SQL for DuckDB.
create temp table checked as
  select customer_id, timezone('UTC', occurred_at)::timestamp as occurred_at, event_type, product_id,
         nullif(trim(regexp_replace(regexp_replace(lower(query), '[''`’ʼ´]', '', 'g'), '[^\p{{L}}\p{{M}}\p{{N}}]+', ' ', 'g')), '') as query,
         coalesce(quantity, 1.0) as quantity, unit_price, discount, order_id, session_id, channel
  from read_parquet('{folder}/events/*.parquet')
  where customer_id is not null and trim(customer_id) <> '' and occurred_at >= timestamptz '1990-01-01'
    and occurred_at < timestamptz '2100-01-01' and coalesce(unit_price, 0) >= 0 and coalesce(discount, 0) >= 0
    and coalesce(quantity, 1) >= 0
    and (product_id is not null or event_type in ('search', 'contact', 'email_open', 'email_click', 'redemption'));
create temp table known as
  select customer_id as name, row_number() over (order by customer_id) - 1 as customer_id from (
    select customer_id from checked where occurred_at < timestamp '2025-11-01'
    union select customer_id from '{folder}/customers.parquet' where registered_at < timestamptz '2025-11-01');
create temp table product_columns as
  select product_id, col from '{folder}/products.parquet' join (values {columns}) t(category_path, col) using (category_path);
create temp table observed as
  select k.customer_id, occurred_at, event_type, query, channel, hash(coalesce(session_id, date_trunc('day', occurred_at)::varchar)) as session_key, col,
         case event_type when 'view' then 1.0 when 'search' then 1.0 when 'favourite' then 2.0 when 'cart' then 2.0
                         when 'purchase' then 3.0 when 'email_click' then 0.5 else 0.0 end
           * exp((epoch(occurred_at) - epoch(timestamp '2025-11-01')) * (ln(2) / 86400.0 / 45.0)) as weight,
         case event_type when 'view' then 1.0 when 'search' then 1.0 when 'favourite' then 3.0 when 'cart' then 5.0
                         when 'email_click' then 1.0 else 0.0 end
           * exp((epoch(occurred_at) - epoch(timestamp '2025-11-01')) * (ln(2) / 86400.0 / 7.0)) as points
  from checked c join known k on c.customer_id = k.name left join product_columns using (product_id)
  where occurred_at >= timestamp '2024-11-01' and occurred_at < timestamp '2025-11-01';
create temp table visits as
  select customer_id, session_key, min(occurred_at) as started_at, min(channel) as channel,
         bool_or(event_type = 'cart') as has_cart, bool_or(event_type = 'purchase') as has_purchase,
         coalesce(count(*) filter (event_type = 'remove_from_cart') >= count(*) filter (event_type = 'cart')
                  and max(occurred_at) filter (event_type = 'remove_from_cart')
                      >= max(occurred_at) filter (event_type = 'cart'), false) as is_emptied
  from observed where event_type not in ('email_open', 'contact', 'redemption', 'other')
  group by all;
create temp table orders as
  select k.customer_id, coalesce(order_id, date_trunc('day', occurred_at)::varchar) as order_key,
         min(occurred_at) as ordered_at, sum(quantity * coalesce(unit_price, 0) - coalesce(discount, 0)) as spend,
         sum(quantity) as items, count(*) as lines, count(*) filter (discount > 0) as discounted
  from checked c join known k on c.customer_id = k.name
  where event_type = 'purchase' and occurred_at >= timestamp '2024-11-01' and occurred_at < timestamp '2025-11-01'
  group by all;
create temp table buyers as
  select customer_id, count(*) as order_count, sum(spend) as spend, sum(items) as item_count,
         sum(discounted) / sum(lines) as discount_share, min(ordered_at) as first_at, max(ordered_at) as last_at
  from orders group by all;
create temp table searches as
  select *, lead(searched_at) over (partition by customer_id, session_key order by searched_at, query) as next_at from (
    select distinct customer_id, session_key, query, occurred_at as searched_at from observed
    where event_type = 'search' and query is not null);
create temp table meanings as
  with followed as (
    select s.query, s.customer_id, s.session_key, s.searched_at, a.col, count(*) as n
    from searches s join observed a
      on s.customer_id = a.customer_id and s.session_key = a.session_key and a.occurred_at >= s.searched_at
     and a.occurred_at <= s.searched_at + interval 30 minutes and (s.next_at is null or a.occurred_at < s.next_at)
    where a.event_type in ('view', 'favourite', 'cart', 'purchase') and a.col is not null group by all),
  shares as (
    select query, col, n / sum(n) over (partition by query, customer_id, session_key, searched_at) as share from followed),
  made as (select query, count(*) as searches, count(distinct customer_id) as customers from searches group by all)
  select s.query, s.col, sum(s.share) / (any_value(m.searches) + 2.0) as probability
  from shares s join made m using (query) where m.customers >= 5 group by s.query, s.col
  having probability >= 0.02;
create temp table anchors as
  select k.customer_id, exp((epoch(timestamp '2025-11-01') - epoch(max(occurred_at))) * (ln(2) / 86400.0 / 45.0)) as renewed
  from checked c join known k on c.customer_id = k.name
  where occurred_at < timestamp '2025-11-01' and event_type in ('view', 'search', 'favourite', 'cart', 'purchase', 'email_click')
    and case event_type when 'search' then query else product_id end is not null
  group by all;
create temp table evidence as
  select customer_id, col, sum(weight * renewed) as evidence from (
    select customer_id, col, weight from observed where col is not null and weight > 0
    union all
    select o.customer_id, m.col, o.weight * m.probability from observed o join meanings m using (query)
    where o.event_type = 'search') join anchors using (customer_id)
  group by all;
create temp table activity as
  select customer_id, count(*) as event_count, sum(points) as temperature_points, min(occurred_at) as first_at, max(occurred_at) as last_at,
         count(*) filter (event_type = 'view') as view_count, count(*) filter (event_type = 'search') as search_count,
         count(*) filter (event_type = 'favourite') as favourite_count, count(*) filter (event_type = 'cart') as cart_count,
         count(*) filter (event_type = 'remove_from_cart') as remove_from_cart_count, count(*) filter (event_type = 'purchase') as purchase_count,
         count(*) filter (event_type = 'return') as return_count, count(*) filter (event_type = 'contact') as contact_count,
         count(*) filter (event_type = 'email_open') as email_open_count, count(*) filter (event_type = 'email_click') as email_click_count,
         count(*) filter (event_type = 'redemption') as redemption_count
  from observed group by all;
create temp table habits as
  select customer_id, count(*) as session_count, count(*) filter (has_cart) as cart_session_count,
         count(*) filter (has_cart and not has_purchase and not is_emptied) as abandoned_cart_count,
         count(*) filter (dayofweek(started_at) in (0, 6)) / count(*) as weekend_share,
         count(*) filter (hour(started_at) < 6) / count(*) as night_share,
         count(*) filter (hour(started_at) between 6 and 11) / count(*) as morning_share,
         count(*) filter (hour(started_at) between 12 and 17) / count(*) as afternoon_share,
         count(*) filter (hour(started_at) >= 18) / count(*) as evening_share,
         count(*) filter (channel = 'web') / count(*) as "channel: web", count(*) filter (channel = 'app') / count(*) as "channel: app",
         count(*) filter (channel = 'store') / count(*) as "channel: store",
         count(*) filter (channel = 'email') / count(*) as "channel: email"
  from visits group by all;
create temp table mix as
  select col, sum(weight) / (select sum(weight) from observed where col is not null) as share
  from observed where col is not null group by col;
{variables}
create temp table wide as pivot evidence on col using coalesce(sum(evidence), 0) group by customer_id;
create temp table totals as
  select * from wide join (select customer_id, sum(evidence) as evidence from evidence group by all) using (customer_id);
create temp table interests as select * from {interests};
create temp table prices as
  select k.customer_id, col, unit_price, quantity from checked c join known k on c.customer_id = k.name
  join product_columns using (product_id)
  where event_type = 'purchase' and unit_price > 0 and quantity > 0
    and occurred_at >= timestamp '2024-11-01' and occurred_at < timestamp '2025-11-01';
create temp table price_levels as
  select customer_id, sum(unit_price * quantity) / sum(mean_price * quantity) as price_level from prices
  join (select col, sum(unit_price * quantity) / sum(quantity) as mean_price from prices group by col) using (col) group by all;
create temp table returns as
  select k.customer_id, sum(quantity) as returned_item_count from checked c join known k on c.customer_id = k.name
  where event_type = 'return' and occurred_at >= timestamp '2024-11-01' and occurred_at < timestamp '2025-11-01' group by all;
create temp table profiles as
  select k.name as customer_id, a.* exclude (customer_id), h.* exclude (customer_id), b.* exclude (customer_id),
         price_level, returned_item_count, i.* exclude (customer_id)
  from known k left join activity a using (customer_id) left join habits h using (customer_id)
  left join buyers b using (customer_id) left join price_levels using (customer_id) left join returns using (customer_id)
  left join interests i using (customer_id)
  order by k.name;
