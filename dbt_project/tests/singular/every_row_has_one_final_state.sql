{{ config(meta={'dagster': {'ref': {'name': 'row_chain'}}, 'description': "Rows went missing or were doubled on their way (Q-11; reliability: every raw row has exactly one final state): the named feed has another number of rows at the end of the named stage than at its beginning."}) }}
select
    source,
    feed,
    stage,
    coalesce(sum(rows_n) filter (where is_input), 0) as rows_in,
    coalesce(sum(rows_n) filter (where not is_input), 0) as rows_out
from {{ ref('row_chain') }}
group by source, feed, stage
having coalesce(sum(rows_n) filter (where is_input), 0) <> coalesce(sum(rows_n) filter (where not is_input), 0)

union all

-- What the chain counts through the orders is what the fact table itself holds.
select counted.source, 'order_lines' as feed, 'fct_order_lines' as stage, counted.rows_n as rows_in, facts.rows_n as rows_out
from (
    select source, sum(rows_n) as rows_n from {{ ref('int_fact_rows') }}
    where feed = 'order_lines' and state = 'in_fact'
    group by source
) as counted
full join (
    select source, count(*) as rows_n from {{ ref('fct_order_lines') }}
    group by source
) as facts using (source)
where counted.rows_n is distinct from facts.rows_n
