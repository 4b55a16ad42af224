{{ config(meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "A source delivers another currency than the home reports in (Q-07): nothing converts it yet, so its amounts would be summed as if they were the same money."}) }}
select orders.source, orders.currency, count(*) as rows_n
from {{ ref('stg_sales__orders') }} as orders
inner join {{ ref('int_run_policy') }} as policy on orders.currency is distinct from policy.reporting_currency
where orders.is_in_force
group by orders.source, orders.currency

union all

select returns.source, returns.currency, count(*) as rows_n
from {{ ref('int_returns') }} as returns
inner join {{ ref('int_run_policy') }} as policy on returns.currency is distinct from policy.reporting_currency
group by returns.source, returns.currency
