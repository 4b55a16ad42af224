{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key=['source', 'order_id'],
          meta={'touched': 'int_orders_touched'}) }}
-- One row per order, and one more for its state on the refresh date where that was another: the latest header with the sums of its lines. The window runs over repeated orders only.
{% set header = ['source', 'order_id', 'source_customer_id', 'channel_id', 'store_id', 'dealer_id', 'account_id',
                 'campaign_code', 'status', 'currency', 'ordered_date', 'paid_date', 'order_discount', 'shipping_fee',
                 'is_test'] %}
{% set delivered = of_touched(ref('stg_sales__orders'), ref('int_order_rows_touched')) %}
with repeated as (
    select source, order_id from {{ delivered }} as headers
    where is_in_force
    group by source, order_id
    having count(*) > 1
),

-- Orders that one delivered row does not tell whole: those that came more than once, and those that looked otherwise.
several as (
    select source, order_id from repeated
    union
    select source, order_id from {{ ref('int_orders_changed') }}
),

delivered_of_several as (
    select headers.* from {{ delivered }} as headers
    semi join several using (source, order_id)
),

states as (
    select true as is_current, headers.* from delivered_of_several as headers
    where headers.is_in_force
    union all
    select false as is_current, headers.* from delivered_of_several as headers
    semi join {{ ref('int_orders_changed') }} as changed using (source, order_id)
    where headers.was_in_force
),

ranked as (
    select
        states.*,
        -- The hour of the order, or the first that was told of it.
        min(ordered_hour) over (partition by is_current, source, order_id) as first_hour,
        row_number() over (
            partition by is_current, source, order_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth,
        count(*) over (partition by is_current, source, order_id) as versions_n
    from states
),

headers as (
    select
        true as is_current, {{ header | join(', ') }}, ordered_hour, 1 as versions_n,
        was_in_force as is_known_at_refresh
    from {{ delivered }} as headers
    anti join several using (source, order_id)
    where headers.is_in_force
    union all
    select
        ranked.is_current, {% for column in header %}ranked.{{ column }}, {% endfor %}ranked.first_hour as ordered_hour,
        ranked.versions_n, not ranked.is_current or (ranked.was_in_force and changed.order_id is null) as is_known_at_refresh
    from ranked
    left join {{ ref('int_orders_changed') }} as changed using (source, order_id)
    where ranked.nth = 1
),

people as (
    select source, source_customer_id, customer_key from {{ ref('int_customer_links') }}
    where is_current
),

rated as (
    select
        headers.*,
        -- None: the order is set aside until its day has a rate.
        cast(case
            when headers.currency = policy.reporting_currency then 1
            when headers.is_current then rates.rate
            else rates.rate_at_refresh
        end as decimal(18, 8)) as exchange_rate
    from headers
    cross join {{ ref('int_run_policy') }} as policy
    left join {{ ref('int_exchange_rates') }} as rates
        on {{ key_where('headers.currency <> policy.reporting_currency', 'headers.currency') }} = rates.currency
        and headers.ordered_date = rates.day
)

select
    headers.is_current,
    headers.source,
    headers.order_id,
    headers.source_customer_id,
    coalesce(people.customer_key, guests.customer_key) as customer_key,
    headers.channel_id,
    headers.store_id,
    headers.dealer_id,
    headers.account_id,
    headers.campaign_code,
    headers.status,
    headers.currency,
    headers.exchange_rate,
    headers.ordered_date,
    headers.ordered_hour,
    headers.paid_date,
    headers.order_discount,
    headers.shipping_fee,
    headers.is_test,
    {{ is_paid_status('headers.status') }} and headers.paid_date is not null and not headers.is_test
        and headers.exchange_rate is not null as is_paid,
    headers.is_known_at_refresh,
    cast(headers.versions_n as integer) as versions_n,
    coalesce(totals.line_n, 0) as line_n,
    coalesce(totals.sale_n, 0) as sale_n,
    coalesce(totals.sale_qty, 0) as sale_qty,
    coalesce(totals.sale_amount, 0) as sale_amount,
    coalesce(totals.sale_amount_ex_tax, 0) as sale_amount_ex_tax,
    {{ converted('case when headers.order_discount = 0 or coalesce(totals.sale_amount, 0) = 0'
        ~ ' then coalesce(totals.sale_amount_ex_tax, 0) else '
        ~ money_share('totals.sale_amount_ex_tax', 'totals.sale_amount - headers.order_discount', 'totals.sale_amount')
        ~ ' end', 'headers.exchange_rate') }} as net_revenue,
    coalesce(totals.has_merchandise, false) as has_merchandise,
    coalesce(totals.contribution, 0) as contribution,
    coalesce(totals.cost_amount, 0) as cost_amount,
    coalesce(totals.is_profit_estimated, false) as is_profit_estimated,
    coalesce(totals.uses_default_margin, false) as uses_default_margin,
    coalesce(totals.is_profit_unknown, false) as is_profit_unknown
from rated as headers
left join (
    select totals.* from {{ ref('int_order_totals') }} as totals
    {{ only_touched(ref('int_orders_touched'), 'totals') }}
) as totals using (is_current, source, order_id)
left join people using (source, source_customer_id)
left join {{ ref('int_guest_orders') }} as guests
    on headers.source = guests.source and guests.is_current
    and {{ key_where('headers.source_customer_id is null', 'headers.order_id') }} = guests.order_id
