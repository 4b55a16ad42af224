{{ config(materialized='table') }}
-- What classes of D are compared with that differs by group, and of how many people each is drawn: the usual depth of price
-- cuts and the share of what all spend by category, the share of people who came back by stage and recency.
select 'price_sensitivity' as scheme, category as group_name, cast(usual_depth as double) as bound, depth_people_n as people_n
from {{ ref('int_category_bounds') }}
union all
select 'affinity' as scheme, category as group_name, share_of_all as bound, share_people_n as people_n
from {{ ref('int_category_bounds') }}
where share_of_all is not null
union all
select
    'clv' as scheme,
    {{ return_rate_group('stage', 'recency_bucket') }} as group_name,
    return_rate as bound,
    people_n
from {{ ref('int_return_rates') }}
